// What the page knows of the cloud: the API's lists, read again every few seconds while somebody looks, and joined.

import { getText, getJSON, LoggedOut, Failed } from "./api.js";

const fields = (names) => names.map((n) => "fields=" + encodeURIComponent(n)).join("&");

const lists = {
  networks: "v2.0/networks?" + fields(["id", "name", "admin_state_up", "mtu", "provider:network_type", "provider:segmentation_id", "router:external", "project_id"]),
  subnets: "v2.0/subnets?" + fields(["id", "network_id", "cidr", "gateway_ip", "enable_dhcp"]),
  ports: "v2.0/ports?" + fields(["id", "name", "network_id", "mac_address", "fixed_ips", "device_id", "device_owner", "status", "admin_state_up", "binding:host_id", "binding:vif_type"]),
  routers: "v2.0/routers?" + fields(["id", "name", "status"]),
  agents: "v2.0/agents",
};

/** cloud is the newest that was read; hosts is null for those to whom the API shows none. */
export const cloud = { loaded: false, networks: new Map(), ports: [], byID: new Map(), routers: new Map(), hosts: null };

const texts = {};
const hearers = new Set();

/** onChange calls f whenever the cloud has changed, until the function that it returns is called. */
export function onChange(f) {
  hearers.add(f);
  return () => hearers.delete(f);
}

async function read(name) {
  try {
    return await getText(lists[name]);
  } catch (err) {
    // Members are told of no agents, and a policy may hide more.
    if (err instanceof Failed && (err.status === 403 || err.status === 404)) return "";
    throw err;
  }
}

/** load reads everything; it says whether something has changed. */
export async function load() {
  const names = Object.keys(lists);
  const got = await Promise.all(names.map(read));
  let changed = !cloud.loaded;
  names.forEach((name, i) => {
    const same = name === "agents" ? steady(got[i]) : got[i];
    changed ||= texts[name] !== same;
    texts[name] = same;
  });
  if (!changed) return false;
  const [networks, subnets, ports, routers, agents] = got.map((text, i) => (text ? JSON.parse(text)[names[i]] : []));
  join(networks, subnets, ports, routers, agents);
  cloud.loaded = true;
  for (const f of hearers) f();
  return true;
}

// An agent's heartbeat is news to nobody.
const steady = (text) => text.replace(/"heartbeat_timestamp": ?"[^"]*"/g, "");

export function forget() {
  Object.assign(cloud, { loaded: false, networks: new Map(), ports: [], byID: new Map(), routers: new Map(), hosts: null });
  tags.clear();
}

function join(networks, subnets, ports, routers, agents) {
  cloud.networks = new Map(networks.sort(byName).map((n, i) => [n.id, { ...n, title: n.name || n.id.slice(0, 8), hue: i % 8, cidrs: [], ports: [] }]));
  for (const s of subnets) cloud.networks.get(s.network_id)?.cidrs.push(s.cidr);
  cloud.routers = new Map(routers.map((r) => [r.id, { ...r, title: r.name || r.id.slice(0, 8), ports: [] }]));
  cloud.ports = ports.map(portOf).sort((a, b) => a.sort.localeCompare(b.sort, "en", { numeric: true }));
  cloud.byID = new Map(cloud.ports.map((p) => [p.id, p]));
  for (const p of cloud.ports) {
    p.network?.ports.push(p);
    if (p.kind === "router") cloud.routers.get(p.device)?.ports.push(p);
  }
  cloud.hosts = agents.length || cloud.ports.some((p) => p.host) ? hostsOf(agents) : null;
}

// What ports of routers are called that have no name.
const roles = { "network:router_interface": "router interface", "network:router_gateway": "router gateway", "network:floatingip": "floating IP" };

const byName = (a, b) => (a.name || a.id).localeCompare(b.name || b.id, "en", { numeric: true });

function portOf(p) {
  const owner = p.device_owner || "";
  const addresses = (p.fixed_ips || []).map((f) => f.ip_address);
  const network = cloud.networks.get(p.network_id);
  const kind = owner === "network:dhcp" ? "dhcp" : owner.startsWith("network:") ? "router" : "guest";
  const title = p.name || (kind === "dhcp" ? "qdhcp-" + p.network_id.slice(0, 8) : kind === "router" ? roles[owner] || owner.slice(8) : "port " + p.id.slice(0, 8));
  const tap = "tap" + p.id.slice(0, 11);
  return {
    id: p.id, name: p.name, title, kind, addresses, network, networkID: p.network_id, mac: p.mac_address, device: p.device_id || "", owner, tap,
    status: p.admin_state_up === false ? "OFF" : p.status, host: p["binding:host_id"] || "", vif: p["binding:vif_type"] || "",
    sort: (network?.title || "") + "\n" + title,
    text: [p.name, title, p.id, p.mac_address, ...addresses, p.device_id, tap, network?.title, p["binding:host_id"]].join("\n").toLowerCase(),
  };
}

function hostsOf(agents) {
  const hosts = new Map();
  const host = (name) => hosts.get(name) || hosts.set(name, { name, roles: new Set(), alive: undefined, vtep: "", groups: new Map() }).get(name);
  for (const a of agents) {
    const h = host(a.host);
    h.alive = (h.alive ?? true) && a.alive;
    h.vtep ||= a.configurations?.tunneling_ip || "";
    if (a.agent_type === "DHCP agent") h.roles.add("DHCP");
    if (a.agent_type === "L3 agent") h.roles.add("L3");
    if (a.agent_type === "Open vSwitch agent") h.roles.add("Open vSwitch");
  }
  for (const p of cloud.ports) {
    if (!p.host) continue;
    const groups = host(p.host).groups;
    if (!groups.has(p.networkID)) groups.set(p.networkID, []);
    groups.get(p.networkID).push(p);
  }
  return [...hosts.values()].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
}

/** statusWord is what a port's status is called. */
export const statusWord = (p) => (p.status === "OFF" ? "switched off" : p.status === "ACTIVE" ? "active" : p.status === "DOWN" ? (p.host || cloud.hosts === null ? "down" : "on no host") : p.status.toLowerCase());

export const healthy = (p) => p.status === "ACTIVE";

/** find returns the ports that have all of the words somewhere, those that begin with them first. */
export function find(text, ports = cloud.ports) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return ports;
  const found = ports.filter((p) => words.every((w) => p.text.includes(w)));
  const rank = (p) => (p.title.toLowerCase() === words[0] || p.addresses.includes(words[0]) ? 0 : p.title.toLowerCase().startsWith(words[0]) || p.id.startsWith(words[0]) ? 1 : 2);
  return found.map((p, i) => [rank(p), i, p]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((x) => x[2]);
}

// The local VLAN of a network on a host is known to that host only: it is read from the trace of one port there.
const tags = new Map();
const MOST_TAGS = 40; // of one picture: each is a trace
let asking = 0;
const waiting = [];

/** tagOf calls back with the tag of a network on a host, once it is known. */
export function tagOf(host, network, ports, tell) {
  const key = host + " " + network;
  const known = tags.get(key);
  if (known && Date.now() - known.at < 60000) return known.tag && tell(known.tag);
  const port = ports.find((p) => p.status === "ACTIVE");
  if (port && waiting.length < MOST_TAGS) {
    waiting.push({ key, port, tell });
    ask();
  }
}

async function ask() {
  if (asking >= 2 || !waiting.length) return;
  const { key, port, tell } = waiting.shift();
  asking++;
  try {
    let tag = tags.get(key)?.tag;
    if (!tag || Date.now() - tags.get(key).at > 60000) {
      const report = await getJSON("weft/v1/trace?q=" + port.id);
      tag = report.chains[0]?.steps.find((s) => s.name === "interface")?.items?.find((i) => i.what === "tag")?.observed || "";
      tags.set(key, { tag, at: Date.now() });
    }
    if (tag) tell(tag);
  } catch (err) {
    if (!(err instanceof LoggedOut)) tags.set(key, { tag: "", at: Date.now() });
  } finally {
    asking--;
    ask();
  }
}

/** forgetTags drops questions of a picture that is no longer there. */
export function dropTagQuestions() {
  waiting.length = 0;
}
