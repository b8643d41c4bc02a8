// The search in the head of the page: a combobox whose list grows with each letter.

import { el, svg } from "./dom.js";
import { cloud, find, healthy, statusWord } from "./cloud.js";

const MOST = 10;

export function makeSearch(box, go) {
  const list = el("ul", { id: "found", role: "listbox", "aria-label": "Ports found", hidden: true });
  const input = el("input", { type: "search", id: "q", role: "combobox", "aria-label": "Search a port by name, MAC, address, VM or tap", "aria-expanded": "false", "aria-controls": "found", "aria-autocomplete": "list",
    placeholder: "Name, MAC, address, VM", autocomplete: "off", spellcheck: "false", "aria-keyshortcuts": "/" });
  box.replaceChildren(input, el("kbd", { "aria-hidden": "true" }, "/"), list);
  let options = [], at = -1;

  function close() {
    list.hidden = true;
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }
  function open() {
    const text = input.value.trim();
    if (!text) return close();
    const found = find(text);
    options = found.slice(0, MOST).map((p) => ({ href: "#/port/" + p.id, nodes: [mark(p), el("b", {}, p.title), el("code", {}, p.addresses[0] || p.mac), el("small", {}, [p.network?.title, p.host].filter(Boolean).join(" · ")), el("span", { class: "sr" }, statusWord(p))] }));
    if (found.length > MOST) options.push({ href: "#/ports?" + new URLSearchParams({ q: text }), nodes: [el("em", {}, `All ${found.length.toLocaleString("en")} ports with “${text}”`)] });
    if (!found.length) options.push({ href: "#/trace/" + encodeURIComponent(text), nodes: [el("em", {}, `No port in sight. Ask the server about “${text}”`)] });
    list.replaceChildren(...options.map((o, i) => el("li", { role: "option", id: "found-" + i, "aria-selected": "false", onmousedown: (e) => (e.preventDefault(), choose(i)) }, o.nodes)));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    select(0);
  }
  function select(i) {
    at = (i + options.length) % options.length;
    [...list.children].forEach((li, j) => li.setAttribute("aria-selected", String(j === at)));
    list.children[at].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", "found-" + at);
  }
  function choose(i) {
    input.value = "";
    close();
    go(options[i].href);
  }
  input.addEventListener("input", open);
  input.addEventListener("focus", open);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (e) => {
    if (e.key === "Escape") return list.hidden ? input.blur() : close();
    if (list.hidden) return;
    if (e.key === "ArrowDown") select(at + 1);
    else if (e.key === "ArrowUp") select(at - 1);
    else if (e.key === "Enter") choose(at);
    else return;
    e.preventDefault();
  });
  addEventListener("hashchange", () => ((input.value = ""), close()));
  document.addEventListener("keydown", (e) => {
    if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) return;
    e.preventDefault();
    input.focus();
  });
}

const mark = (p) => svg("svg", { class: "picture", width: 12, height: 12, "aria-hidden": "true" }, svg("g", { class: "mark " + (healthy(p) ? "up" : "down"), transform: "translate(6 6)" }, svg("circle", { r: 4.5 })));
