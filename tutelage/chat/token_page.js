"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const rows = [...document.querySelectorAll(".row")];
  if (!rows.length) return;
  const root = document.documentElement;
  const bar = document.querySelector(".bar");
  const keys = document.querySelector(".keys");
  // What is shown is searched, and what it spells where the tokenizer cut a character into bytes.
  const texts = rows.map((row) =>
    [row.querySelector("h2"), row.querySelector(".note"), ...row.querySelectorAll(".tokens .words")]
      .map((part) => part?.textContent ?? "").concat(row.dataset.text ?? "").join("\n").toLowerCase());
  let found = rows;
  let current = rows[0];

  const add = (name, properties) => bar.appendChild(Object.assign(document.createElement(name), properties));
  const before = add("button", { textContent: "←", title: "the row before (k)", onclick: () => step(-1) });
  const place = add("output", {});
  const after = add("button", { textContent: "→", title: "the next row (j)", onclick: () => step(1) });
  const view = add("button", { title: "running text or table (t)", onclick: toggle });
  add("button", { textContent: "?", title: "keys (?)", onclick: () => keys.showModal() });
  const search = add("input", { type: "search", placeholder: "search  /", oninput: filter });
  keys.querySelector("button").addEventListener("click", () => keys.close());
  search.setAttribute("aria-label", "search the rows");
  place.setAttribute("aria-live", "polite");

  function show(row, scroll) {
    current.classList.remove("current");
    current = row;
    current.classList.add("current");
    root.classList.toggle("none-found", !found.length);
    const at = found.indexOf(current);
    const total = found.length === rows.length ? `${rows.length}` : `${found.length} found`;
    place.textContent = at < 0 ? "none found" : `${at + 1} of ${total}`;
    before.disabled = at <= 0;
    after.disabled = at < 0 || at === found.length - 1;
    if (scroll) history.replaceState(null, "", `#${current.id}`);
    // Below the bar, the next row begins where this one did.
    if (scroll && bar.getBoundingClientRect().top <= 0) current.scrollIntoView();
  }

  function step(by) {
    const next = found[found.indexOf(current) + by];
    if (next && found.includes(current)) show(next, true);
  }

  function toggle() {
    const table = root.classList.toggle("as-table");
    root.classList.toggle("as-text", !table);
    for (const one of document.querySelectorAll(".row > details")) one.open = table;
    view.textContent = table ? "text" : "table";
  }

  function filter() {
    const wanted = search.value.toLowerCase();
    found = rows.filter((_, number) => texts[number].includes(wanted));
    show(found.includes(current) || !found.length ? current : found[0], true);
  }

  function follow() {
    const row = rows.find((one) => `#${one.id}` === location.hash);
    if (!row) return;
    if (!found.includes(row)) { search.value = ""; found = rows; }
    show(row, false);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
    if (event.target === search) {
      if (event.key === "Escape") { search.value = ""; filter(); }
      if (event.key === "Escape" || event.key === "Enter") search.blur();
      return;
    }
    const action = {
      ArrowLeft: () => step(-1), k: () => step(-1), ArrowRight: () => step(1), j: () => step(1),
      t: toggle, "/": () => search.focus(), "?": () => keys.showModal(),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  addEventListener("hashchange", follow);

  root.classList.add("one-by-one", "as-table");
  toggle();
  show(current, false);
  follow();
});
