// The page begins here: it logs in where that is needed, reads the cloud while somebody looks, and shows the view that
// the address names: #/, #/ports?..., #/port/ID, #/trace/WHATEVER.

import { el, announce } from "./dom.js";
import { session, getJSON, logOut, LoggedOut, Failed } from "./api.js";
import { cloud, load, forget } from "./cloud.js";
import { showPicture } from "./picture.js";
import { showPorts } from "./ports.js";
import { showPort } from "./port.js";
import { showLogin } from "./login.js";
import { makeSearch } from "./search.js";

const main = document.getElementById("main"), top_ = document.getElementById("top"), trouble = document.getElementById("trouble");
let config = { identity: "none", login: false };
let end = () => {};
let timer = 0;
let began = false;

function go(hash) {
  if (location.hash === hash) route();
  else location.hash = hash;
}

/** route shows the view that the address names. */
function route() {
  if (!began) return;
  end();
  end = () => {};
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  const [, view, arg] = path.split("/");
  document.title = "weft";
  for (const a of document.querySelectorAll("nav a")) {
    if (a.dataset.view === (view || "picture")) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  if (view === "ports") end = showPorts(main, new URLSearchParams(query), go);
  else if (view === "port" || view === "trace") end = showPort(main, decoded(arg || ""), login);
  else end = showPicture(main);
  scrollTo(0, 0);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody has typed it
  }
}

/** login shows the form; why says what has led there. */
function login(err) {
  clearTimeout(timer);
  end();
  end = () => {};
  began = false;
  forget();
  top_.hidden = true;
  trouble.hidden = true;
  document.title = "Log in - weft";
  showLogin(main, err?.again ? "Your session has ended. Log in again." : "", begin);
}

function complain(err) {
  trouble.textContent = err instanceof Failed ? "The server refuses: " + err.message : "The server cannot be reached. Trying again.";
  trouble.hidden = false;
}

/** refresh reads the cloud again and again while the page is in sight. */
async function refresh() {
  clearTimeout(timer);
  try {
    await load();
    trouble.hidden = true;
  } catch (err) {
    if (err instanceof LoggedOut) return login({ again: began });
    complain(err);
  }
  if (!document.hidden) timer = setTimeout(refresh, cloud.ports.length > 1000 ? 10000 : 4000);
}

/** begin shows the page to who has logged in. */
async function begin() {
  try {
    await load();
  } catch (err) {
    if (err instanceof LoggedOut) return login();
  }
  began = true;
  top_.hidden = false;
  const who = document.getElementById("who");
  who.replaceChildren(...(!config.login ? [] : [
    el("span", {}, session.user ? session.user + " · " + session.project : "by token"),
    el("button", { type: "button", class: "quiet", onclick: async () => (await logOut(), history.replaceState(null, "", "#/"), login()) }, "Log out")]));
  route();
  refresh();
  announce("Logged in");
}

async function start() {
  makeSearch(document.getElementById("search"), go);
  document.getElementById("skip").addEventListener("click", () => main.focus());
  addEventListener("hashchange", () => (route(), began && main.focus({ preventScroll: true })));
  document.addEventListener("visibilitychange", () => !document.hidden && began && refresh());
  for (;;) {
    try {
      config = await getJSON("weft/v1/ui/config");
      trouble.hidden = true;
      break;
    } catch (err) {
      complain(err);
      await new Promise((wake) => setTimeout(wake, 2000));
    }
  }
  if (config.login && !session) login();
  else begin();
}

start();
