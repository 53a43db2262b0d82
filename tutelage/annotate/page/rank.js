// Ranks by keyboard, buttons and drag. `work.ranks` has a number, or null, for each answer as it is shown.
const letter = (place) => "ABCDEFGHI"[place];
let selected = 0;

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

function showAnswers(answers) {
  selected = 0;
  byId("answers").replaceChildren(...answers.map((text, place) => {
    const card = element("div", "", { class: "answer", tabindex: "0", role: "listitem", "aria-label": `answer ${letter(place)}` });
    const head = element("div", "", { class: "head" });
    head.append(element("b", letter(place)));
    answers.forEach((_, rank) => {
      const button = element("button", String(rank + 1), { type: "button", tabindex: "-1", "aria-label": `rank ${rank + 1} for ${letter(place)}` });
      button.addEventListener("click", () => setRank(place, work.ranks[place] === rank + 1 ? null : rank + 1));
      head.append(button);
    });
    card.append(head, element("div", text, { class: "text" }));
    card.addEventListener("focusin", () => { selected = place; });
    return card;
  }));
  const levels = answers.map((_, rank) => level(rank + 1, rank ? `rank ${rank + 1}` : "1, the best"));
  byId("levels").replaceChildren(...levels, level("", "not ranked"));
  showRanks();
}

function level(rank, title) {
  const row = element("div", "", { class: "level", "data-rank": String(rank) });
  row.append(element("span", title));
  return row;
}

function setRank(place, rank) {
  if (rank !== null && !tiesAllowed) work.ranks = work.ranks.map((other) => (other === rank ? null : other));
  work.ranks[place] = rank;
  changed();
  showRanks();
}

function showRanks() {
  for (const chip of document.querySelectorAll(".chip")) chip.remove();
  [...byId("answers").children].forEach((card, place) => {
    const rank = work.ranks[place];
    card.querySelectorAll("button").forEach((button, index) => button.setAttribute("aria-pressed", String(index + 1 === rank)));
    const chip = element("button", letter(place), { type: "button", class: "chip", tabindex: "-1", "aria-label": `drag ${letter(place)}` });
    chip.addEventListener("pointerdown", (event) => drag(event, chip, place));
    document.querySelector(`.level[data-rank="${rank ?? ""}"]`).append(chip);
  });
  const ranked = work.ranks.filter((rank) => rank !== null).length;
  byId("submit").disabled = ranked < 2 && !work.all_bad;
}

function levelAt(event) {
  return document.elementFromPoint(event.clientX, event.clientY)?.closest(".level");
}

function drag(event, chip, place) {
  event.preventDefault();
  chip.setPointerCapture(event.pointerId);
  chip.classList.add("dragged");
  const over = (now) => {
    for (const row of document.querySelectorAll(".level")) row.classList.toggle("over", row === levelAt(now));
  };
  const drop = (now) => {
    chip.removeEventListener("pointermove", over);
    const row = levelAt(now);
    for (const other of document.querySelectorAll(".level")) other.classList.remove("over");
    if (row) setRank(place, row.dataset.rank ? Number(row.dataset.rank) : null);
    else chip.classList.remove("dragged");
  };
  chip.addEventListener("pointermove", over);
  chip.addEventListener("pointerup", drop, { once: true });
  chip.addEventListener("pointercancel", drop, { once: true });
}

function selectAnswer(place) {
  const cards = byId("answers").children;
  selected = Math.max(0, Math.min(cards.length - 1, place));
  cards[selected].focus();
}

// Whether the key was one of ranking.
function rankKey(name) {
  const count = work.ranks.length;
  if (/^[0-9]$/.test(name) && Number(name) <= count) setRank(selected, Number(name) || null);
  else if (name.length === 1 && "abcdefghi".indexOf(name) >= 0 && "abcdefghi".indexOf(name) < count) selectAnswer("abcdefghi".indexOf(name));
  else if (name === "ArrowDown" || name === "ArrowUp") selectAnswer(selected + (name === "ArrowDown" ? 1 : -1));
  else return false;
  return true;
}
