// Writing an answer: its length, a suggestion to start from, and the audit's checks as it grows.
let checking = 0;

function showWriting(item) {
  byId("text").value = work.text;
  byId("suggest").hidden = !item.suggestion;
  showLength();
  byId("faults").replaceChildren();
  if (work.text) checkSoon();
}

function showLength() {
  const words = work.text.split(/\s+/).filter(Boolean).length;
  byId("length").textContent = `${words} words`;
  byId("submit").disabled = !work.text.trim();
}

// The checks of the text as it is when nothing was typed for a while.
function checkSoon() {
  clearTimeout(checking);
  checking = setTimeout(async () => {
    const { number } = item, { text } = work;
    try {
      const { faults } = await post("check", { number, text });
      if (item.number === number && work.text === text) {
        byId("faults").replaceChildren(...faults.map((fault) => element("li", fault)));
      }
    } catch { /* the next change asks again */ }
  }, 400);
}

function listenToWriting() {
  byId("text").addEventListener("input", () => {
    work.text = byId("text").value;
    changed();
    showLength();
    checkSoon();
  });
  byId("suggest").addEventListener("click", () => {
    work.text = item.suggestion;
    work.suggested = true;
    changed();
    showWriting(item);
    byId("text").focus();
  });
}
