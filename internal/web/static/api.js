// Talking to the server: who is logged in, requests, and streams of server-sent events.

// The page is at /weft/ of the API's origin, perhaps below a proxy's prefix.
const base = new URL("../", location.href.split("#")[0]);
const KEY = "weft.session";

/** session is {token, user, project, expires}; null when nobody is logged in. */
export let session = JSON.parse(sessionStorage.getItem(KEY) || "null");

/** LoggedOut is thrown when the server wants a (new) token. */
export class LoggedOut extends Error {}

export class Failed extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function keep(s) {
  session = s;
  if (s) sessionStorage.setItem(KEY, JSON.stringify(s));
  else sessionStorage.removeItem(KEY);
}

async function send(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (session?.token) headers["X-Auth-Token"] = session.token;
  const response = await fetch(new URL(path, base), { ...options, headers, cache: "no-store", credentials: "omit" });
  if (response.status === 401) {
    keep(null);
    throw new LoggedOut("The server wants you to log in.");
  }
  if (!response.ok) throw new Failed(response.status, messageOf(await response.text()) || response.status + " " + response.statusText);
  return response;
}

/** messageOf finds the sentence in an error of Neutron's, Keystone's or weft's own form. */
function messageOf(text) {
  try {
    const body = JSON.parse(text);
    return body.NeutronError?.message || body.error?.message || (typeof body.error === "string" && body.error) || "";
  } catch {
    return text.slice(0, 300);
  }
}

export const getText = async (path) => (await send(path)).text();
export const getJSON = async (path) => (await send(path)).json();

/** logIn gets a token of a project from the identity. */
export async function logIn({ user, password, project, domain }) {
  const where = { name: domain };
  const auth = {
    identity: { methods: ["password"], password: { user: { name: user, domain: where, password } } },
    scope: { project: { name: project, domain: where } },
  };
  const response = await fetch(new URL("weft/v1/ui/auth/tokens", base), {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ auth }), cache: "no-store", credentials: "omit",
  });
  if (response.status === 401) throw new Failed(401, "User, password or project is not right.");
  if (!response.ok) throw new Failed(response.status, messageOf(await response.text()) || "The identity answers " + response.status + ".");
  const { token } = await response.json();
  keep({ token: response.headers.get("X-Subject-Token"), user: token.user.name, project: token.project?.name || "", expires: token.expires_at });
}

/** useToken logs in with a token had elsewhere, if the API takes it. */
export async function useToken(token) {
  keep({ token, user: "", project: "" });
  try {
    await getText("v2.0/networks?limit=1&fields=id");
  } catch (err) {
    keep(null);
    throw err instanceof LoggedOut ? new Failed(401, "The API does not take this token.") : err;
  }
}

/** logOut forgets the token; one that this page has got is revoked too. */
export async function logOut() {
  const { token, user } = session || {};
  keep(null);
  if (!user) return;
  await fetch(new URL("weft/v1/ui/auth/tokens", base), { method: "DELETE", headers: { "X-Auth-Token": token, "X-Subject-Token": token } }).catch(() => {});
}

/**
 * stream reads server-sent events until it is stopped, and begins again when the connection ends.
 * It is fetched, not an EventSource, because that cannot send a token.
 */
export function stream(path, { event, state, failed }) {
  const control = new AbortController();
  const read = async () => {
    const response = await send(path, { signal: control.signal, headers: { Accept: "text/event-stream" } });
    state("live");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer += value;
      for (let end; (end = buffer.indexOf("\n\n")) >= 0; buffer = buffer.slice(end + 2)) {
        const lines = buffer.slice(0, end).split("\n");
        const field = (name) => lines.filter((l) => l.startsWith(name + ": ")).map((l) => l.slice(name.length + 2)).join("\n");
        if (field("data")) event(field("event"), JSON.parse(field("data")));
      }
    }
  };
  (async () => {
    for (let wait = 250; !control.signal.aborted; wait = Math.min(wait * 2, 8000)) {
      try {
        const began = performance.now();
        await read();
        if (performance.now() - began > 5000) wait = 125;
      } catch (err) {
        if (control.signal.aborted) return;
        if (err instanceof LoggedOut || err instanceof Failed && err.status < 500) return failed(err);
      }
      if (control.signal.aborted) return;
      state("reconnecting");
      await new Promise((wake) => setTimeout(wake, wait));
    }
  })();
  return () => control.abort();
}
