// Making and changing elements. Text always goes in as text: nothing from the cloud is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((c) => c !== undefined && c !== null && c !== false));
  return node;
}

export const el = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** setText changes a text only if it is another, so that screen readers hear of changes only. */
export function setText(node, text) {
  if (node.textContent === text) return false;
  node.textContent = text;
  return true;
}

export function announce(text) {
  setText(document.getElementById("announcer"), text);
}

const words = { ok: "OK", warning: "Warning", unknown: "Unknown", broken: "Broken", shown: "" };

/** word is what a verdict is called: a verdict is never told by its colour alone. */
export const word = (verdict) => words[verdict] ?? verdict;

// Each verdict has a shape of its own: a disc, a triangle, a diamond, an octagon.
const shapes = {
  ok: ["M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z", "M4.8 8.3l2.2 2.2 4.2-4.7"],
  warning: ["M8 1.2l7.3 13.3H.7z", "M8 6v4M8 12.2v.1"],
  unknown: ["M8 .6L15.4 8 8 15.4.6 8z", "M6.2 6.4A1.9 1.9 0 1 1 8 8.7v.6M8 11.2v.1"],
  broken: ["M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1z", "M5.5 5.5l5 5M10.5 5.5l-5 5"],
  shown: ["M8 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4z", ""],
};

export function icon(verdict) {
  const [body, mark] = shapes[verdict] || shapes.shown;
  return svg("svg", { class: "icon v-" + verdict, viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" },
    svg("path", { class: "body", d: body }), mark && svg("path", { class: "mark", d: mark }));
}

/** setIcon makes an icon that of another verdict. */
export function setIcon(holder, verdict) {
  if (holder.dataset.verdict === verdict) return;
  holder.dataset.verdict = verdict;
  holder.replaceChildren(icon(verdict));
}

export const short = (id) => id.slice(0, 8);

export function ago(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 90) return s + " s ago";
  if (s < 5400) return Math.round(s / 60) + " min ago";
  if (s < 129600) return Math.round(s / 3600) + " h ago";
  return Math.round(s / 86400) + " days ago";
}

/** clock is the time of day with milliseconds, as logs have it (UTC). */
export const clock = (date) => new Date(date).toISOString().slice(11, 23);
