// A port: the answer in one sentence, the chain as a picture and step by step, and what guest and DHCP said to each
// other. It is live: each second's changes are put into what is there, so that focus and what is open stay.

import { el, icon, setIcon, setText, word, short, clock, ago, announce } from "./dom.js";
import { stream, LoggedOut } from "./api.js";
import { cloud } from "./cloud.js";

const titles = {
  record: ["Record", "what the API has on record"],
  allocation: ["Addresses", "why this MAC and these addresses"],
  binding: ["Binding", "where the port is to be realised"],
  host: ["Agent", "whether the host's agent is alive and in step"],
  interface: ["Interface", "the OVS interface with the port's ID, and its tag"],
  tap: ["Tap", "the device in the kernel, and who holds its other end"],
  filter: ["Filter", "port security, security groups, and what they dropped"],
  flows: ["Flows", "what the switch holds for the port"],
  exchange: ["DHCP packets", "what the rules and the switches do with them"],
  tunnel: ["Tunnel", "the way between the port's host and the DHCP host"],
  dhcp: ["DHCP service", "namespace, address and listener"],
  lease: ["Lease", "what the guest asked and was told"],
  guest: ["Guest", "what the guest sends"],
  status: ["Status", "the facts, and the status that follows"],
  faults: ["Faults", "what the agent could not do, or had to put right"],
};

/** place is where a step happens: the chain is drawn by place. */
function place(step) {
  if (step.name === "tunnel") return "between hosts";
  if (step.name === "lease" || step.name === "guest") return "guest";
  if (["record", "allocation", "binding"].includes(step.name)) return "records";
  if (step.name === "status") return "in the end";
  return step.host ? step.host : step.name === "filter" ? "" : "host";
}

const severity = ["shown", "ok", "warning", "unknown", "broken"];
const bad = (v) => severity.indexOf(v) > 1;

/** showPort fills main with what q means; it returns what ends it. */
export function showPort(main, q, loggedOut) {
  const state = el("span", { class: "live", role: "status" });
  const updated = el("span", { class: "dim" });
  const body = el("div", {}, el("p", { class: "empty" }, "Asking the hosts…"));
  main.replaceChildren(el("div", { class: "page" }, el("p", { class: "crumbs" }, el("a", { href: "#/" }, "Picture"), el("span", { "aria-hidden": "true" }, "›"), state, updated), body));
  const views = new Map();
  let last = 0;
  const look = () => stream("weft/v1/trace/live?q=" + encodeURIComponent(q), {
    state(s) {
      state.className = "live " + s;
      setText(state, s === "live" ? "live" : "connection lost, trying again");
    },
    event(kind, data) {
      last = Date.now();
      if (kind === "problem") return problem(data.error);
      report(data);
    },
    failed(err) {
      if (err instanceof LoggedOut) return loggedOut(err);
      state.className = "live";
      setText(state, "");
      problem(err.message);
    },
  });
  // Hosts are asked only while somebody can see it.
  let stop = look();
  const seen = () => {
    stop();
    if (!document.hidden) stop = look();
  };
  document.addEventListener("visibilitychange", seen);
  const timer = setInterval(() => last && setText(updated, "updated " + ago(Date.now() - last)), 1000);

  function problem(text) {
    views.clear();
    body.replaceChildren(el("h1", {}, q), el("p", { class: "notice fault", role: "alert" }, icon("unknown"), text));
  }
  function report(rep) {
    const ids = rep.chains.map((c) => c.port_id);
    if (ids.join() !== [...views.keys()].join() || !ids.length) {
      views.clear();
      for (const c of rep.chains) views.set(c.port_id, new View());
      body.replaceChildren(...[...views.values()].map((v) => v.node));
      if (!ids.length) body.replaceChildren(refused(rep));
    }
    for (const c of rep.chains) views.get(c.port_id).show(c);
    document.title = ids.length ? `${word(rep.verdict)}: ${rep.chains[0].name || short(ids[0])} - weft` : "weft";
  }
  return () => (stop(), clearInterval(timer), document.removeEventListener("visibilitychange", seen));
}

/** refused shows ports that were never made. */
function refused(rep) {
  const shown = (r) => el("li", { class: "step v-broken" }, el("p", {}, el("code", {}, clock(r.at).slice(0, 8) + " UTC "), r.message),
    el("p", { class: "dim" }, [r.name, r.mac, ...(r.addresses || []), r.device_id && "VM " + r.device_id, "network " + (cloud.networks.get(r.network_id)?.title || short(r.network_id))].filter(Boolean).join(" · ")));
  return el("article", { class: "port" }, el("h1", {}, rep.query), el("div", { class: "answer v-broken", role: "group", "aria-label": "Answer" }, icon("broken"),
    el("div", { "aria-live": "polite" }, el("p", { class: "verdict" }, "Broken: refused"), el("p", { class: "sentence" }, "There is no such port: it was asked for, and refused."))),
    el("h2", { class: "apart" }, "Refused"), el("ol", { class: "refused" }, (rep.refused || []).map(shown)));
}

/** View is the chain of one port. */
class View {
  constructor() {
    this.title = el("h1", {});
    this.facts = el("dl", { class: "facts" });
    this.verdict = el("p", { class: "verdict" });
    this.verdictIcon = el("span", { class: "big" });
    this.sentence = el("p", { class: "sentence" });
    this.todo = el("p", { class: "todo" });
    this.goto = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.open(this.answerKey) });
    this.answer = el("div", { class: "answer", role: "group", "aria-label": "Answer" }, this.verdictIcon, el("div", { "aria-live": "polite", "aria-atomic": "true" }, this.verdict, this.sentence, this.todo), this.goto);
    this.strip = el("ol", { class: "strip", "aria-label": "The chain, by place" });
    this.steps = el("ol", { class: "steps" });
    this.talk = el("section", { class: "talk", "aria-label": "DHCP timeline" });
    this.node = el("article", { class: "port" }, this.title, this.facts, this.answer, this.strip,
      el("div", { class: "columns" }, el("section", { "aria-label": "Steps" }, el("h2", {}, "Step by step"), this.steps), this.talk));
    this.parts = new Map();
    this.keys = "";
  }

  show(c) {
    setText(this.title, c.name || "port " + short(c.port_id));
    this.showFacts(c);
    const a = c.answer;
    this.answer.className = "answer v-" + c.verdict;
    setIcon(this.verdictIcon, c.verdict);
    setText(this.verdict, c.verdict === "ok" ? "Healthy" : word(c.verdict) + (a.step ? ": " + (titles[a.step]?.[0] || a.step).toLowerCase() : ""));
    setPlain(this.sentence, a.text, c.at);
    setText(this.todo, a.do || "");
    this.todo.hidden = !a.do;
    this.showSteps(c);
    const said = JSON.stringify(c.conversation || []);
    if (this.said !== said) this.talk.replaceChildren(...talk(c.conversation || []));
    this.said = said;
  }

  showFacts(c) {
    const network = cloud.networks.get(c.network_id);
    const facts = [["MAC", c.mac], ["Address", (c.addresses || []).join(", ") || "none"], ["Network", network?.title || short(c.network_id), { network: c.network_id }],
      ["Host", c.host, { host: c.host }], ["VM", c.device_id, { q: c.device_id }], ["ID", c.port_id]];
    const text = JSON.stringify(facts);
    if (this.factsText === text) return;
    this.factsText = text;
    this.facts.replaceChildren(...facts.filter(([, v]) => v).map(([k, v, at]) =>
      el("div", {}, el("dt", {}, k), el("dd", {}, at ? el("a", { href: "#/ports?" + new URLSearchParams(at) }, v) : v))));
  }

  /** showSteps keeps the steps' elements as long as the steps are the same ones. */
  showSteps(c) {
    const count = new Map();
    const keyed = c.steps.map((s) => {
      const key = s.name + "@" + (s.host || "");
      count.set(key, (count.get(key) || 0) + 1);
      return [key + "#" + count.get(key), s];
    });
    const keys = keyed.map(([k]) => k).join();
    if (keys !== this.keys) {
      this.keys = keys;
      const before = this.parts;
      this.parts = new Map(keyed.map(([k, s]) => [k, before.get(k) || new StepView(s)]));
      this.steps.replaceChildren(...[...this.parts.values()].map((p) => p.node));
      this.strip.replaceChildren(...this.drawStrip(keyed));
    }
    for (const [k, s] of keyed) {
      this.parts.get(k).show(s, c.at);
      setIcon(this.parts.get(k).mark.icon, s.verdict);
      setText(this.parts.get(k).mark.says, " " + word(s.verdict));
    }
    this.answerKey = keyed.find(([, s]) => s.name === c.answer.step && bad(s.verdict))?.[0];
    this.goto.hidden = !this.answerKey;
    setText(this.goto, "Show the step");
  }

  /** drawStrip draws the chain by place: a box for each, with its steps in it. */
  drawStrip(keyed) {
    const boxes = [];
    for (const [k, s] of keyed) {
      const at = place(s) || boxes.at(-1)?.at || "host";
      if (boxes.at(-1)?.at !== at) boxes.push({ at, nodes: [] });
      const holder = el("span", {}), says = el("span", { class: "sr" });
      this.parts.get(k).mark = { icon: holder, says };
      boxes.at(-1).nodes.push(el("li", {}, el("button", { type: "button", onclick: () => this.open(k) }, holder, titles[s.name]?.[0] || s.name, says)));
    }
    return boxes.map((b) => el("li", { class: "place" }, el("p", {}, b.at), el("ol", {}, b.nodes)));
  }

  /** open goes to a step. */
  open(key) {
    const part = this.parts.get(key);
    if (!part) return;
    part.details.open = true;
    part.summary.focus({ preventScroll: true });
    part.node.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }
}

/** StepView is one step: a line that opens to its items. */
class StepView {
  constructor(s) {
    const [title, about] = titles[s.name] || [s.name, ""];
    this.icon = el("span", {});
    this.says = el("span", { class: "says" });
    this.gist = el("span", { class: "gist" });
    this.summary = el("summary", {}, this.icon, el("span", { class: "name" }, title, s.host && el("small", {}, " on " + s.host)), this.gist, this.says);
    this.body = el("tbody", {});
    this.about = el("p", { class: "about" }, about);
    this.table = el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "what"), el("th", { scope: "col" }, "observed"), el("th", { scope: "col" }, "expected"))), this.body);
    this.details = el("details", {}, this.summary, this.about, this.table);
    this.summary.addEventListener("click", () => (this.chosen = true));
    this.node = el("li", { class: "step" }, this.details);
    this.rows = [];
  }

  show(s, at) {
    const items = s.items || [];
    this.node.className = "step v-" + s.verdict;
    setIcon(this.icon, s.verdict);
    const was = this.verdict;
    this.verdict = s.verdict;
    setText(this.says, word(s.verdict));
    setText(this.gist, gist(s, at));
    // What is wrong shows itself, unless somebody has opened or closed it himself.
    if (was !== s.verdict && !this.chosen) this.details.open = bad(s.verdict) && !!s.items;
    this.table.hidden = !s.items;
    if (!s.items) setText(this.about, "The insides of hosts are shown to administrators only.");
    while (this.rows.length > items.length) this.rows.pop().remove();
    items.forEach((item, i) => {
      if (!this.rows[i]) this.body.append((this.rows[i] = new Row()).node);
      this.rows[i].show(item, at);
    });
  }
}

/** gist is what a closed step says. */
function gist(s, at) {
  const items = s.items || [];
  const wrong = items.find((i) => i.verdict === s.verdict && bad(i.verdict));
  if (wrong) return `${wrong.what}: ${plain(wrong.observed, at)}`;
  const lead = { record: "network", allocation: "address", binding: "host", host: "feed", interface: "interface", tap: "packets", filter: "dropped", flows: "flows", dhcp: "namespace", status: "status", guest: "packets" }[s.name];
  const item = items.find((i) => i.what === lead) || items.at(-1);
  if (!item) return "";
  const text = plain(item.observed, at).replace(/ \(chosen.*\)$| \(made from.*\)$/, "").replace(/^[0-9a-f-]{36} (?=.)/, "").replace(/([0-9a-f]{8})-[0-9a-f-]{27}/g, "$1").replace(/\d{4}-\d\d-\d\dT\S+ /, "");
  return (lead === item.what && lead !== "dropped" ? "" : item.what + ": ") + text;
}

const AGE = /\(?\b(\d[\dhmsµ.]*) ago\)?/g;
const unit = { h: 3600000, m: 60000, s: 1000, ms: 1, µs: 0.001 };

/** steady is a text without its ages, which differ each second and say nothing new. */
const steady = (text) => text.replace(AGE, "");

/** plain says when instead of how long before the moment of the event; where there is a time already, that will do. */
function plain(text, at) {
  const dated = /\d{4}-\d\d-\d\dT/.test(text);
  return text.replace(AGE, (_, age) => {
    if (dated) return "";
    let ms = 0;
    for (const [, n, u] of age.matchAll(/([\d.]+)(h|ms|m|µs|s)/g)) ms += n * unit[u];
    return "at " + clock(Date.parse(at) - ms).slice(0, 8) + " UTC";
  }).trim();
}

/** setPlain changes a text if more than its ages has changed. */
function setPlain(node, text, at) {
  const same = steady(text);
  if (node.steady === same) return false;
  node.steady = same;
  return setText(node, plain(text, at));
}

/** Row is an item: its cells change in place, and what has changed lights up for a moment. */
class Row {
  constructor() {
    this.icon = el("span", {});
    this.what = el("span", {});
    this.says = el("span", { class: "sr" });
    this.observed = el("td", { class: "observed" });
    this.expected = el("td", { class: "expected" });
    this.first = el("tr", {}, el("th", { scope: "row" }, this.icon, this.what, this.says), this.observed, this.expected);
    this.finding = el("td", { colspan: 3 });
    this.second = el("tr", { class: "finding", hidden: true }, this.finding);
    this.node = document.createDocumentFragment();
    this.node.append(this.first, this.second);
  }

  remove() {
    this.first.remove();
    this.second.remove();
  }

  show(item, at) {
    setIcon(this.icon, item.verdict);
    setText(this.what, item.what);
    setText(this.says, word(item.verdict));
    this.first.className = "v-" + item.verdict;
    const before = this.observed.textContent;
    if (setPlain(this.observed, item.observed, at) && before) flash(this.observed);
    const text = this.observed.textContent;
    setText(this.expected, item.expected === text ? "the same" : item.expected === "present" ? "" : item.expected);
    this.expected.classList.toggle("same", item.expected === text);
    this.second.hidden = !item.text;
    const finding = steady([item.text || "", item.do || ""].join("\n"));
    if (this.findingText !== finding) {
      this.findingText = finding;
      this.finding.replaceChildren(el("p", {}, plain(item.text || "", at)), ...(item.do ? [el("p", { class: "todo" }, item.do)] : []));
    }
  }
}

function flash(node) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  node.animate([{ backgroundColor: "var(--flash)" }, { backgroundColor: "transparent" }], { duration: 1200, easing: "ease-out" });
}

/** talk draws what guest and DHCP service said: questions go to the right, answers to the left. */
function talk(all) {
  const heading = el("h2", {}, "DHCP timeline");
  if (!all.length) return [heading, el("p", { class: "dim" }, "No DHCP message of this port has been heard since the agents started.")];
  const rows = [];
  let before;
  for (const t of all.slice(-12)) {
    const at = new Date(t.at);
    const took = t.elapsed_ns ? (t.elapsed_ns / 1e6).toFixed(3) + " ms" : "";
    const good = t.reply && t.reply !== "NAK";
    if (before && at - before > 1500) rows.push(el("li", { class: "pause" }, span(at - before) + " later"));
    before = at;
    rows.push(el("li", { class: "said" + (good || !expects(t.message) ? "" : " bad") },
      el("time", { datetime: t.at, title: t.at }, clock(at)),
      el("div", { class: "ask" }, el("b", {}, t.message)),
      expects(t.message) && el("div", { class: "reply" }, el("b", {}, t.reply || "no answer"), t.addr && el("code", {}, t.addr), took && el("small", {}, took)),
      t.reason && el("p", { class: "reason" }, t.reason)));
  }
  return [heading, all.length > 12 && el("p", { class: "dim" }, `The last 12 of ${all.length} messages.`), el("p", { class: "ends", "aria-hidden": "true" }, el("span", {}, "guest"), el("span", {}, "DHCP")), el("ol", { class: "said" }, rows)].filter(Boolean);
}

const expects = (message) => message !== "RELEASE" && message !== "DECLINE";

const span = (ms) => (ms < 90000 ? (ms / 1000).toFixed(1) + " s" : ms < 5400000 ? Math.round(ms / 60000) + " min" : Math.round(ms / 3600000) + " h");
