"use strict";

// The theme is set before anything is drawn, so that the page does not flash in the other one. Where storage is
// forbidden, as for files in some browsers, the choice lasts as long as the page.
const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
if (stored) document.documentElement.dataset.theme = stored;

function addThemeButton() {
  const root = document.documentElement;
  const button = document.createElement("button");
  button.className = "theme";
  button.textContent = "◐";
  button.setAttribute("aria-label", "switch between light and dark");
  button.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* not kept */ }
  });
  document.body.append(button);
}

function followContents() {
  const links = [...document.querySelectorAll(".contents a")];
  const sections = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
  const mark = () => {
    const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2;
    const passed = sections.filter((section) => section.getBoundingClientRect().top < Math.min(innerHeight / 3, 200)).length;
    const current = atEnd && scrollY > 0 ? links.length - 1 : Math.max(0, passed - 1);
    links.forEach((link, index) => {
      if (index !== current) return link.removeAttribute("aria-current");
      if (link.hasAttribute("aria-current")) return;
      link.setAttribute("aria-current", "true");
      const list = link.closest(".contents");
      list.scrollLeft = link.offsetLeft - list.clientWidth / 3;
    });
  };
  addEventListener("scroll", mark, { passive: true });
  mark();
}

let tip;
function showTip(text, box, live) {
  tip ??= document.body.appendChild(Object.assign(document.createElement("div"), { className: "tip" }));
  tip.setAttribute("role", live ? "status" : "presentation");
  tip.textContent = text;
  tip.hidden = !text;
  const { width, height } = tip.getBoundingClientRect();
  const above = box.top - height - 8;
  tip.style.top = `${above > 4 ? above : Math.min(box.bottom + 8, innerHeight - height - 4)}px`;
  tip.style.left = `${Math.max(8, Math.min(box.left + box.width / 2 - width / 2, innerWidth - width - 8))}px`;
}
function hideTip() { if (tip) tip.hidden = true; }

function said(value, percent) {
  if (value === null) return "–";
  if (percent) return `${(value * 100).toFixed(1)}%`;
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e9)) return value.toExponential(2);
  return value.toLocaleString("en-US", { maximumSignificantDigits: size >= 1000 ? 9 : 4 });
}

function watchPlot(plot) {
  for (const title of plot.querySelectorAll("title")) {
    // Said to those who cannot see the plot; to those who can, a browser would hold it over the values.
    title.parentElement.setAttribute("aria-label", title.textContent);
    title.remove();
  }
  if (!plot.dataset.plot) return;
  const data = JSON.parse(plot.dataset.plot);
  const fraction = (value, low, high, log) =>
    log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  for (const svg of plot.querySelectorAll("svg")) {
    const [left, right, top, bottom, x0, x1, y0, y1] = JSON.parse(svg.dataset.frame);
    const placeX = (x) => left + fraction(x, x0, x1, data.logX) * (right - left);
    const placeY = (y) => bottom + fraction(y, y0, y1, data.logY) * (top - bottom);
    const all = [...new Set(data.series.flatMap((one) => one.x))].sort((a, b) => a - b);
    if (!all.length) continue;
    const layer = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "g"));
    const draw = (name, attributes) => {
      const mark = layer.appendChild(document.createElementNS("http://www.w3.org/2000/svg", name));
      for (const [key, value] of Object.entries(attributes)) mark.setAttribute(key, value);
    };
    const nearest = (values, x) =>
      values.reduce((best, value, i) => (Math.abs(placeX(value) - x) < Math.abs(placeX(values[best]) - x) ? i : best), 0);
    let at = 0;
    const show = (index, live) => {
      at = Math.max(0, Math.min(index, all.length - 1));
      const x = placeX(all[at]);
      layer.replaceChildren();
      draw("line", { class: "cross", x1: x, x2: x, y1: top, y2: bottom });
      const lines = [`${data.x} ${said(all[at])}`];
      for (const one of data.series) {
        if (!one.x.length) continue;
        const i = nearest(one.x, x);
        if (x < placeX(one.x[0]) - 6 || x > placeX(one.x[one.x.length - 1]) + 6) continue;
        const away = Math.abs(placeX(one.x[i]) - x) > 6 ? `, at ${said(one.x[i])}` : "";
        draw("circle", { class: `mark s${one.colour}`, cx: placeX(one.x[i]), cy: placeY(one.y[i]), r: 4.5 });
        const band = one.low ? ` (${said(one.low[i], data.percent)} to ${said(one.high[i], data.percent)})` : "";
        lines.push(`${one.name}: ${said(one.y[i], data.percent)}${band}${away}`);
      }
      const box = svg.getBoundingClientRect();
      const scale = box.width / svg.viewBox.baseVal.width;
      showTip(lines.join("\n"), { left: box.left + x * scale, width: 0, top: box.top + top * scale, bottom: box.top + bottom * scale }, live);
    };
    const hide = () => { layer.replaceChildren(); hideTip(); };
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      show(nearest(all, ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width));
    };
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      show(layer.childElementCount ? at + step * (event.shiftKey ? 10 : 1) : at, true);
    });
  }
}

function watchTokens(text) {
  const token = (target) => target.closest?.(".words > span");
  // The browser's own box for a title comes late and never for the keyboard; without this script it still comes.
  const show = (event) => {
    const one = token(event.target);
    if (!one) return;
    if (one.title) { one.dataset.title = one.title; one.removeAttribute("title"); }
    if (one.dataset.title) showTip(one.dataset.title, one.getClientRects()[0], event.type === "focusin");
  };
  text.addEventListener("pointerover", show);
  text.addEventListener("pointerout", hideTip);
  text.addEventListener("focusin", show);
  text.addEventListener("focusout", hideTip);
  text.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const here = token(event.target);
    if (!step || !here) return;
    const all = [...text.querySelectorAll(".words > span")];
    const next = all[all.indexOf(here) + step];
    event.preventDefault();
    event.stopPropagation();
    if (!next) return;
    here.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

document.addEventListener("DOMContentLoaded", () => {
  addThemeButton();
  if (document.querySelector(".contents")) followContents();
  document.querySelectorAll(".plot").forEach(watchPlot);
  document.querySelectorAll(".tokens").forEach(watchTokens);
  addEventListener("scroll", hideTip, { passive: true });
});
