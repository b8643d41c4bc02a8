// All ports as a list. However long it is, only what is in sight exists: rows are made as they are scrolled to.

import { el, svg } from "./dom.js";
import { cloud, find, onChange, statusWord, healthy } from "./cloud.js";

const ROW = 52, SPARE = 6;

/** showPorts fills main with the ports that params choose: q, network, host, status. It returns what ends it. */
export function showPorts(main, params, go) {
  const filter = el("input", { type: "search", id: "filter", value: params.get("q") || "", placeholder: "name, MAC, address, VM, tap", autocomplete: "off", spellcheck: "false",
    oninput: () => (set("q", filter.value), rebuild()), onkeydown: (e) => e.key === "ArrowDown" && (e.preventDefault(), focusRow(0)) });
  const status = el("select", { id: "status", onchange: () => (set("status", status.value), rebuild()) }, el("option", { value: "" }, "any status"), el("option", { value: "up" }, "active"), el("option", { value: "down" }, "not active"));
  status.value = params.get("status") || "";
  const chips = el("p", { class: "chips" });
  const count = el("p", { class: "summary", role: "status" });
  const rows = el("div", { class: "rows" });
  const list = el("div", { class: "list", role: "list", "aria-label": "Ports", onscroll: render, onkeydown: keys }, rows);
  main.replaceChildren(el("div", { class: "page wide" }, el("div", { class: "heading" }, el("h1", {}, "Ports"), count),
    el("div", { class: "filters" }, el("label", { for: "filter" }, "Filter"), filter, el("label", { class: "sr", for: "status" }, "Status"), status, chips), list));
  let shown = [], active = 0;
  const made = new Map();

  function set(name, value) {
    if (value) params.set(name, value);
    else params.delete(name);
    history.replaceState(null, "", "#/ports" + (params.size ? "?" + params : ""));
  }
  function drawChips() {
    const network = params.get("network"), host = params.get("host");
    chips.replaceChildren(...[network && ["network", "network " + (cloud.networks.get(network)?.title || network)], host && ["host", host === "none" ? "on no host" : "host " + host]].filter(Boolean).map(([name, text]) =>
      el("button", { type: "button", "aria-label": "Remove the filter: " + text, onclick: () => (set(name, ""), drawChips(), rebuild()) }, text, el("span", { "aria-hidden": "true" }, " ✕"))));
  }
  function rebuild() {
    if (!cloud.loaded) return;
    const { network, host, status: s } = Object.fromEntries(params);
    const some = cloud.ports.filter((p) => (!network || p.networkID === network) && (!host || (host === "none" ? !p.host : p.host === host)) && (!s || healthy(p) === (s === "up")));
    shown = find(params.get("q") || "", some);
    active = 0;
    count.textContent = shown.length === cloud.ports.length ? `${shown.length.toLocaleString("en")} ports` : `${shown.length.toLocaleString("en")} of ${cloud.ports.length.toLocaleString("en")} ports`;
    made.clear();
    rows.replaceChildren();
    rows.style.height = shown.length ? shown.length * ROW + "px" : "auto";
    if (!shown.length) rows.append(el("p", { class: "empty" }, "No port is like that."));
    list.scrollTop = 0;
    render();
  }
  function render() {
    const from = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE), to = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
    for (const [i, node] of made) {
      if ((i >= from && i < to) || node.contains(document.activeElement)) continue; // the focus is never lost by scrolling
      node.remove();
      made.delete(i);
    }
    for (let i = from; i < to; i++) if (!made.has(i)) made.set(i, rows.appendChild(row(shown[i], i)));
  }
  function row(p, i) {
    const node = el("div", { class: "row", role: "listitem", "aria-setsize": shown.length, "aria-posinset": i + 1 },
      el("a", { href: "#/port/" + p.id, tabindex: i === active ? 0 : -1, "data-index": i },
        svg("svg", { class: "picture", width: 14, height: 14, "aria-hidden": "true" }, svg("g", { class: "mark " + (healthy(p) ? "up" : "down"), transform: "translate(7 7)" }, svg("circle", { r: 5 }))),
        el("span", { class: "c-name" }, el("b", {}, p.title), el("small", {}, statusWord(p))),
        el("span", { class: "c-addr" }, el("code", {}, p.addresses.join(", ") || "no address"), el("code", { class: "dim" }, p.mac)),
        el("span", { class: "c-net" }, p.network?.title || p.networkID.slice(0, 8), el("small", {}, p.host))));
    node.style.top = i * ROW + "px";
    return node;
  }
  function focusRow(i) {
    if (!shown.length) return;
    made.get(active)?.querySelector("a").setAttribute("tabindex", -1);
    active = Math.max(0, Math.min(shown.length - 1, i));
    const top = active * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    render();
    const link = made.get(active).querySelector("a");
    link.setAttribute("tabindex", 0);
    link.focus({ preventScroll: true });
  }
  function keys(e) {
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const to = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: shown.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    if (to < 0 && e.key === "ArrowUp") return filter.focus();
    focusRow(to);
  }
  list.addEventListener("focusin", (e) => e.target.dataset.index && (active = Number(e.target.dataset.index)));
  const watch = new ResizeObserver(render);
  watch.observe(list);
  drawChips();
  rebuild();
  const unhear = onChange(() => {
    const top = list.scrollTop, at = active, focused = list.contains(document.activeElement);
    drawChips();
    rebuild();
    list.scrollTop = top;
    render();
    if (focused) focusRow(at);
  });
  return () => (watch.disconnect(), unhear());
}
