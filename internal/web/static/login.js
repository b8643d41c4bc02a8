// Logging in: by user, password and project, or with a token had elsewhere.

import { el } from "./dom.js";
import { logIn, useToken } from "./api.js";

export function showLogin(main, why, done) {
  const error = el("p", { class: "notice fault", role: "alert", hidden: true });
  const input = (id, name, more) => el("p", { class: "field" }, el("label", { for: id }, name), el("input", { id, name: id, required: true, autocapitalize: "none", spellcheck: "false", ...more }));
  const enter = el("button", { type: "submit", class: "main" }, "Log in");
  const byPassword = el("form", {},
    input("user", "User", { autocomplete: "username" }), input("password", "Password", { type: "password", autocomplete: "current-password" }), input("project", "Project", { autocomplete: "off" }),
    el("details", {}, el("summary", {}, "Domain"), input("domain", "Domain of user and project", { value: "Default", autocomplete: "off" })), enter);
  const byToken = el("form", {}, input("token", "Token", { autocomplete: "off", type: "password" }), el("button", { type: "submit" }, "Use this token"));
  main.replaceChildren(el("div", { class: "page login" }, el("h1", {}, el("img", { src: "icon.svg", alt: "", width: 40, height: 40 }), "weft"),
    why && el("p", { class: "dim", role: "status" }, why), error, byPassword,
    el("details", { class: "token" }, el("summary", {}, "Use a token instead"), el("p", { class: "dim" }, "Such as of: openstack token issue"), byToken)));
  const submit = (form, f) => form.addEventListener("submit", async (e) => {
    e.preventDefault();
    error.hidden = true;
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await f(Object.fromEntries(new FormData(form)));
      done();
    } catch (err) {
      error.textContent = err.message;
      error.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
  submit(byPassword, logIn);
  submit(byToken, ({ token }) => useToken(token.trim()));
  main.querySelector("#user").focus();
}
