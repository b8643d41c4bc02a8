// The picture: each host a card with its guests and namespaces on br-int, and the tunnels between hosts. Who is shown
// no hosts sees a card for each network. It is drawn anew for each width; what is many is drawn as one.

import { el, svg } from "./dom.js";
import { cloud, onChange, statusWord, healthy, tagOf, dropTagQuestions } from "./cloud.js";

const SPINE = 22; // room for the wires on the left that lead to br-int, a lane for each group
const GUTTER = 26, GAP = 22, PAD = 12, CHIP = 44, BAR = 28, HEAD = 46, TITLE = 24;
const MANY = 6; // guests of a network on a host, beyond which they are counted instead of drawn
const ROLES = ["Open vSwitch", "DHCP", "L3"];
const MOST_ODD = 4; // so many of those counted are drawn all the same, when they are not active
const MOST_GROUPS = 6, MOST_CARDS = 24, MOST_NETS = 30;

const pen = document.createElement("canvas").getContext("2d");

/** fit cuts a text to a width in pixels. */
function fit(text, width, font) {
  pen.font = font;
  if (pen.measureText(text).width <= width) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const mid = (low + high + 1) >> 1;
    if (pen.measureText(text.slice(0, mid) + "…").width <= width) low = mid;
    else high = mid - 1;
  }
  return text.slice(0, low) + "…";
}

const SANS = "system-ui, sans-serif";
const MONO = "ui-monospace, 'DejaVu Sans Mono', monospace";

function label(x, y, text, { width = 1e4, size = 12, weight = 400, mono = false, cls = "", anchor } = {}) {
  const font = `${weight} ${size}px ${mono ? MONO : SANS}`;
  return svg("text", { x, y, class: cls + (mono ? " mono" : ""), "font-size": size, "font-weight": weight, "text-anchor": anchor }, fit(text, width, font));
}

/** mark is the shape of a status: full, hollow, crossed. */
function mark(x, y, p) {
  const ok = healthy(p);
  return svg("g", { class: "mark " + (ok ? "up" : "down"), transform: `translate(${x} ${y})` },
    svg("circle", { r: 4.5 }), p.status === "OFF" && svg("path", { d: "M-3-3L3 3" }), p.status === "ERROR" && svg("path", { d: "M-2-2L2 2M2-2L-2 2" }));
}

/** chip is one port. */
function chip(p, x, y, width) {
  const what = { guest: "", dhcp: "DHCP namespace ", router: "router namespace " }[p.kind];
  const says = `${what}${p.title}, ${p.addresses.join(", ") || "no address"}, ${statusWord(p)}`;
  return svg("a", { href: "#/port/" + p.id, class: `chip ${p.kind} ${healthy(p) ? "up" : "down"}`, "aria-label": says, tabindex: -1 },
    svg("title", {}, says),
    svg("rect", { x, y, width, height: CHIP - 6, rx: p.kind === "guest" ? 6 : 19 }),
    mark(x + 14, y + 19, p),
    label(x + 25, y + 16, p.title, { width: width - 34, weight: 500 }),
    label(x + 25, y + 31, p.addresses[0] || p.mac, { width: width - 34, size: 11, mono: true, cls: "dim" }));
}

/** many stands for the guests of a network on a host that are too many to be drawn. */
function many(guests, at, x, y, width) {
  const up = guests.filter(healthy).length, down = guests.length - up;
  const says = `${guests.length} guests, ` + (down ? (up ? `${up} active, ${down} not` : "none active") : "all active");
  return svg("a", { href: `#/ports?${new URLSearchParams(at)}`, class: "chip many", "aria-label": says, tabindex: -1 },
    svg("title", {}, says),
    svg("rect", { x, y, width, height: CHIP - 6, rx: 6 }),
    label(x + 10, y + 17, says, { width: width - 20, weight: 500 }),
    svg("rect", { class: "meter", x: x + 10, y: y + 25, width: width - 20, height: 5, rx: 2.5 }),
    svg("rect", { class: "meter up", x: x + 10, y: y + 25, width: Math.max(up && 4, ((width - 20) * up) / guests.length), height: 5, rx: 2.5 }));
}

/** group is a network on a host: a box with the ports in it. Its height is fixed before it is drawn. */
function layGroup(network, ports, width, at) {
  const guests = ports.filter((p) => p.kind === "guest"), others = ports.filter((p) => p.kind !== "guest");
  const columns = width > 250 ? 2 : 1;
  const cell = (width - 2 * 8 - (columns - 1) * 6) / columns;
  const crowd = guests.length > MANY;
  const odd = guests.filter((p) => !healthy(p));
  const single = crowd ? [...others, ...(odd.length <= MOST_ODD ? odd : [])] : [...others, ...guests];
  const height = TITLE + (crowd ? CHIP : 0) + Math.ceil(single.length / columns) * CHIP + 6;
  const draw = (x, y, title) => {
    let top = y + TITLE;
    const nodes = [
      svg("rect", { class: "group", x, y, width, height, rx: 8 }),
      svg("rect", { class: "swatch", x: x + 8, y: y + 9, width: 9, height: 9, rx: 2 }),
      title,
    ];
    if (crowd) {
      nodes.push(many(guests, at, x + 8, top, width - 16));
      top += CHIP;
    }
    single.forEach((p, i) => nodes.push(chip(p, x + 8 + (i % columns) * (cell + 6), top + Math.floor(i / columns) * CHIP, cell)));
    return nodes;
  };
  return { network, ports, height, draw };
}

const gone = (id) => ({ id, title: id.slice(0, 8), hue: 0, cidrs: [] });

/** layHost lays out the card of a host. */
function layHost(h, width) {
  const inner = width - 2 * PAD - SPINE;
  const sorted = [...h.groups].map(([id, ports]) => [cloud.networks.get(id) || gone(id), ports]).sort((a, b) => b[1].length - a[1].length);
  const groups = sorted.slice(0, MOST_GROUPS).map(([n, ports]) => layGroup(n, ports, inner, { network: n.id, host: h.name }));
  const rest = sorted.slice(MOST_GROUPS);
  let height = HEAD + (rest.length ? 26 : 0) + 10 + BAR + (h.vtep ? 12 + BAR : 0) + PAD;
  for (const g of groups) height += g.height + 10;
  if (!groups.length) height += 24;
  const draw = (x, y) => {
    const dead = h.alive === false;
    const roles = ROLES.filter((r) => h.roles.has(r)).join(" · ") || "never heard of";
    const nodes = [
      svg("rect", { class: "card" + (dead ? " dead" : ""), x, y, width, height, rx: 12 }),
      label(x + PAD + 2, y + 22, h.name, { width: width - 110, size: 15, weight: 650 }),
      label(x + PAD + 2, y + 38, roles, { width: width - 40, size: 11, cls: "dim" }),
      svg("g", { class: "mark " + (dead ? "dead" : "up"), transform: `translate(${x + width - (dead ? 50 : 54)} ${y + 18})` }, svg("circle", { r: 4.5 }), dead && svg("path", { d: "M-2-2L2 2M2-2L-2 2" })),
      label(x + width - PAD - 2, y + 22, dead ? "dead" : "alive", { size: 12, anchor: "end", cls: dead ? "bad" : "dim" }),
    ];
    let top = y + HEAD;
    const spine = x + PAD + 2, bar = y + height - PAD - BAR - (h.vtep ? 12 + BAR : 0);
    if (!groups.length) nodes.push(label(x + PAD + 2, top + 14, "nothing is here", { size: 12, cls: "dim" }));
    groups.forEach((g, i) => {
      const lane = spine + i * 3, middle = top + 14;
      const tag = label(x + width - PAD - 8, top + 16, "", { size: 11, mono: true, cls: "tag", anchor: "end" });
      tagOf(h.name, g.network.id, g.ports, (t) => (tag.textContent = "tag " + t));
      nodes.push(svg("g", { class: `net hue-${g.network.hue}`, "data-net": g.network.id },
        svg("path", { class: "wire", d: `M${x + PAD + SPINE} ${middle}H${lane}V${bar}` }),
        g.draw(x + PAD + SPINE, top, label(x + PAD + SPINE + 23, top + 17, g.network.title, { width: inner - 90, weight: 600 })),
        g.ports.some(healthy) && tag));
      top += g.height + 10;
    });
    if (rest.length) {
      const ports = rest.reduce((n, [, ps]) => n + ps.length, 0);
      nodes.push(svg("a", { href: "#/ports?host=" + encodeURIComponent(h.name), class: "more", tabindex: -1 },
        label(x + PAD + 20, top + 14, `and ${rest.length} more networks with ${ports} ports`, { width: inner })));
    }
    nodes.push(bridge(x + PAD, bar, width - 2 * PAD, "br-int", ""));
    if (h.vtep) {
      nodes.push(svg("path", { class: "patch", d: `M${x + width / 2} ${bar + BAR}v12` }));
      nodes.push(bridge(x + PAD, bar + BAR + 12, width - 2 * PAD, "br-tun", h.vtep));
    }
    return svg("g", { role: "group", "aria-label": `host ${h.name}, ${dead ? "dead" : "alive"}` }, nodes);
  };
  return { height, draw, vtep: h.vtep, nets: [...h.groups.keys()] };
}

function bridge(x, y, width, name, address) {
  return svg("g", { class: "bridge" }, svg("rect", { x, y, width, height: BAR, rx: 6 }),
    label(x + 10, y + 18, name, { mono: true, weight: 600 }), address && label(x + width - 10, y + 18, address, { mono: true, anchor: "end", size: 11 }));
}

/** layList lays out a card without a switch: of a network, or of what is on no host. */
function layList(title, subtitle, groups, width, cls) {
  const laid = groups.map(([n, ports, at]) => layGroup(n, ports, width - 2 * PAD, at));
  let height = HEAD + PAD;
  for (const g of laid) height += g.height + 10;
  const draw = (x, y) => {
    let top = y + HEAD;
    return svg("g", { role: "group", "aria-label": title }, svg("rect", { class: "card " + cls, x, y, width, height, rx: 12 }),
      label(x + PAD + 2, y + 22, title, { width: width - 30, size: 15, weight: 650 }),
      label(x + PAD + 2, y + 38, subtitle, { width: width - 30, size: 11, cls: "dim" }),
      laid.map((g) => {
        const node = svg("g", { class: `net hue-${g.network.hue}`, "data-net": g.network.id },
          g.draw(x + PAD, top, label(x + PAD + 23, top + 17, g.network.title, { width: width - 100, weight: 600 })));
        top += g.height + 10;
        return node;
      }));
  };
  return { height, draw, nets: groups.map(([n]) => n.id) };
}

/** layRouter lays out the card of a router: a line to each of its networks. */
function layRouter(r, width) {
  const nets = [...new Set(r.ports.map((p) => p.network).filter(Boolean))];
  return layList("qrouter-" + r.title, "router: a record, which no host serves yet", nets.map((n) => [n, r.ports.filter((p) => p.network === n), { network: n.id }]), width, "unreal");
}

/** cards are what the picture shows, in order. */
function cards(width, most) {
  const all = [];
  if (cloud.hosts) {
    // Of many the dead ones come first: those are looked for.
    const hosts = cloud.hosts.length > most ? [...cloud.hosts].sort((a, b) => (b.alive === false) - (a.alive === false)) : cloud.hosts;
    for (const h of hosts.slice(0, most)) all.push(layHost(h, width));
    const groups = new Map();
    for (const p of cloud.ports) {
      if (p.host || p.kind !== "guest") continue;
      if (!groups.has(p.networkID)) groups.set(p.networkID, []);
      groups.get(p.networkID).push(p);
    }
    const unbound = [...groups].map(([id, ports]) => [cloud.networks.get(id) || gone(id), ports, { network: id, host: "none" }]).sort((a, b) => b[1].length - a[1].length);
    const some = unbound.length > 2 * MOST_GROUPS ? `: ${2 * MOST_GROUPS} of ${unbound.length} networks` : "";
    if (unbound.length) all.push(layList("On no host", "ports that nobody has bound yet" + some, unbound.slice(0, 2 * MOST_GROUPS), width, "unreal"));
  } else {
    for (const n of [...cloud.networks.values()].slice(0, most)) all.push(layList(n.title, n.cidrs.join(", ") || "no subnet", [[{ ...n, title: "ports" }, n.ports, { network: n.id }]], width, ""));
  }
  for (const r of cloud.routers.values()) if (r.ports.some((p) => !p.host)) all.push(layRouter(r, width));
  return all;
}

/** draw makes the SVG for a width. */
function draw(total, most) {
  const ends = cloud.hosts ? cloud.hosts.slice(0, most).filter((h) => h.vtep).length : 0, tunnels = ends > 1;
  const columns = Math.max(1, Math.floor((total - GUTTER + GAP) / (340 + GAP)));
  // Tunnels of more than one row meet on the left.
  const rows = Math.ceil(ends / columns), gutter = tunnels && rows > 1 ? GUTTER : 1;
  const width = Math.min(520, (total - 1 - gutter - GAP * (columns - 1)) / columns);
  const all = cards(width, most);
  const nodes = [], trunk = [];
  let y = 4, first = 0;
  for (let i = 0; i < all.length; i += columns) {
    const row = all.slice(i, i + columns);
    const height = Math.max(...row.map((c) => c.height));
    const line = y + height + 16;
    row.forEach((c, j) => {
      const x = gutter + j * (width + GAP);
      nodes.push(c.draw(x, y));
      if (!tunnels || !c.vtep) return;
      const nets = c.nets.join(" ");
      if (columns === 1) trunk.push(svg("path", { class: "tunnel", "data-nets": nets, d: `M${x + PAD} ${y + c.height - PAD - BAR / 2}H8` }));
      else trunk.push(svg("path", { class: "tunnel", "data-nets": nets, d: `M${x + width / 2} ${y + c.height - PAD}V${line}H${rows > 1 ? 8 : gutter + width / 2}` }));
      const end = columns === 1 ? y + c.height - PAD - BAR / 2 : line;
      if (!first) first = end;
      else if (end > first && rows > 1) trunk.push(svg("path", { class: "tunnel", d: `M8 ${first}V${end}` }));
    });
    if (tunnels && columns > 1 && row.some((c) => c.vtep)) trunk.push(label(gutter + width / 2 + 8, line - 6, "tunnels between hosts", { size: 11, cls: "dim" }));
    y = line + (tunnels ? 16 : 6);
  }
  return svg("svg", { class: "picture", width: total, height: y, viewBox: `0 0 ${total} ${y}`, role: "group", "aria-label": cloud.hosts ? "Hosts, what is on them, and the tunnels between them" : "Networks and their ports" },
    svg("g", { "aria-hidden": "true" }, trunk), nodes);
}

/** walk moves the focus from chip to chip by the arrow keys: the nearest in that direction. */
function walk(root, event) {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  const here = document.activeElement;
  if (!way || !root.contains(here) || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const centre = (n) => {
    const b = n.getBoundingClientRect();
    return [b.x + b.width / 2, b.y + b.height / 2];
  };
  const [x, y] = centre(here);
  let best, least = Infinity;
  for (const n of root.querySelectorAll("a")) {
    const [dx, dy] = centre(n).map((c, i) => c - [x, y][i]);
    const along = dx * way[0] + dy * way[1], aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
    if (n !== here && along > 4 && along + 3 * aside < least) [best, least] = [n, along + 3 * aside];
  }
  if (best) step(root, best);
}

function step(root, to) {
  for (const n of root.querySelectorAll('a[tabindex="0"]')) n.setAttribute("tabindex", -1);
  to.setAttribute("tabindex", 0);
  to.focus();
}

function summary() {
  const guests = cloud.ports.filter((p) => p.kind === "guest"), up = guests.filter(healthy).length;
  const count = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;
  const parts = [];
  if (cloud.hosts) {
    const dead = cloud.hosts.filter((h) => h.alive === false).length;
    parts.push(count(cloud.hosts.length, "host") + (dead ? ` (${dead} dead)` : ""));
  }
  parts.push(count(cloud.networks.size, "network"), count(guests.length, "guest port") + `, ${up.toLocaleString("en")} active`);
  const odd = guests.length - up;
  return [parts.join(" · "), odd > 0 && [" · ", el("a", { href: "#/ports?status=down" }, `${odd.toLocaleString("en")} not active`)]].flat().filter(Boolean);
}

/** showPicture fills main with the picture; it returns what ends it. */
export function showPicture(main) {
  const box = el("div", { class: "canvas", onkeydown: (e) => walk(box, e) });
  const sum = el("p", { class: "summary" });
  const nets = el("ul", { class: "nets", "aria-label": "Networks: choose one to find it in the picture" });
  const more = el("button", { type: "button", class: "quiet", onclick: () => ((most += MOST_CARDS), redraw()) });
  let chosen = "", most = MOST_CARDS, width = 0;
  main.replaceChildren(el("div", { class: "page wide" },
    el("div", { class: "heading" }, el("h1", {}, "The cloud"), sum), nets, box, more,
    el("p", { class: "legend" }, key("up", "active"), key("down", "not active"), el("span", { class: "k-ns" }, "round: a namespace (qdhcp, qrouter)"), el("span", {}, "Arrow keys walk in the picture, / searches."))));

  function choose(id) {
    chosen = chosen === id ? "" : id;
    light();
  }
  function light() {
    box.classList.toggle("lit", !!chosen);
    for (const g of box.querySelectorAll("[data-net]")) g.classList.toggle("on", g.dataset.net === chosen);
    for (const t of box.querySelectorAll("[data-nets]")) t.classList.toggle("on", t.dataset.nets.split(" ").includes(chosen));
    for (const b of nets.querySelectorAll("button")) b.setAttribute("aria-pressed", String(b.dataset.net === chosen));
  }
  function drawNets() {
    const all = [...cloud.networks.values()];
    nets.replaceChildren(...all.slice(0, MOST_NETS).map((n) =>
      el("li", {}, el("button", { type: "button", class: `net hue-${n.hue}`, "data-net": n.id, "aria-pressed": "false", onclick: () => choose(n.id) },
        el("i", { class: "swatch" }), n.title, el("small", {}, n.cidrs[0] || "")))),
      all.length > MOST_NETS ? el("li", {}, `and ${all.length - MOST_NETS} more`) : "");
  }
  function redraw() {
    if (!cloud.loaded || !width) return;
    const focus = box.contains(document.activeElement) ? document.activeElement.getAttribute("href") : "";
    dropTagQuestions();
    box.replaceChildren(cloud.ports.length || cloud.hosts ? draw(width, most) : el("p", { class: "empty" }, "There is nothing here yet. Make a network, a subnet and a port, and they appear."));
    const links = [...box.querySelectorAll("a")];
    const again = links.find((a) => a.getAttribute("href") === focus);
    (again || links[0])?.setAttribute("tabindex", 0);
    again?.focus();
    sum.replaceChildren(...summary());
    drawNets();

    const hidden = (cloud.hosts ? cloud.hosts.length : cloud.networks.size) - most;
    more.hidden = hidden <= 0;
    more.textContent = `Show ${Math.min(hidden, MOST_CARDS)} of ${hidden} more`;
    light();
  }
  const watch = new ResizeObserver(([e]) => {
    const w = Math.floor(e.contentRect.width);
    if (w === width) return;
    width = w;
    redraw();
  });
  watch.observe(box);
  const unhear = onChange(redraw);
  return () => (watch.disconnect(), unhear(), dropTagQuestions());
}

const key = (cls, text) => el("span", {}, svg("svg", { class: "picture", width: 12, height: 12, "aria-hidden": "true" }, svg("g", { class: "mark " + cls, transform: "translate(6 6)" }, svg("circle", { r: 4.5 }))), text);
