"use strict";
// No library, nothing from elsewhere. Text of others is only ever set as text, never as HTML.
(() => {
  const page = document.body.dataset.page;
  const byId = (id) => document.getElementById(id);
  const status = byId("status");
  let csrf = "";
  let step = "";

  const say = (text, kind) => {
    status.textContent = text;
    status.className = kind || "";
  };
  const show = (id, shown) => {
    byId(id).hidden = !shown;
  };
  const wanted = () => new URLSearchParams(location.search).get("next") || "";
  // A name without a slash: the server says where to go, and it names local paths only.
  const go = (path) => location.assign(new URL(path, location.origin).href);

  class Refused extends Error {
    constructor(answer, problem) {
      const wait = answer.headers.get("Retry-After");
      const parts = [problem.detail || problem.title || "It did not work.", problem.advice || ""];
      if (wait) parts.push(`Try again in ${wait} seconds.`);
      super(parts.filter(Boolean).join(" "));
      this.status = answer.status;
      this.code = problem.code || "";
    }
  }

  const ask = async (method, path, body) => {
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (csrf) headers["X-CSRF-Token"] = csrf;
    const answer = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    let read = {};
    try {
      read = text ? JSON.parse(text) : {};
    } catch {
      read = {};
    }
    if (!answer.ok) throw new Refused(answer, read);
    if (read.csrf_token) csrf = read.csrf_token;
    return read;
  };

  // Says what went wrong.
  const saying = async (work) => {
    try {
      await work();
    } catch (error) {
      if (error.code === "sign_in_again") {
        say("For this you have to sign in again.", "wrong");
        setTimeout(() => signInFirst(), 1500);
      } else if (error.name === "NotAllowedError") {
        say("It was cancelled, or took too long.", "wrong");
      } else if (error.name === "InvalidStateError") {
        say("This device has a passkey for you already.", "wrong");
      } else {
        say(error instanceof Refused ? error.message : "The server does not answer.", "wrong");
      }
      status.focus();
    }
  };
  // Runs what a person asks for, one thing at a time.
  let busy = false;
  const doing = (work) => async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    say("");
    await saying(work);
    busy = false;
  };
  const on = (id, kind, work) => byId(id).addEventListener(kind, doing(work));
  const signInFirst = () => go(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);

  const session = async () => {
    try {
      return await ask("GET", "/v1/session");
    } catch (error) {
      if (error.status === 401) {
        signInFirst();
        return new Promise(() => {});
      }
      throw error;
    }
  };

  // --- WebAuthn's JSON, for browsers that cannot read and write it themselves -----------------
  const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text64 = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const passkeysWork = () => Boolean(window.PublicKeyCredential && navigator.credentials);

  const makePasskey = async (options) => {
    options.challenge = bytes(options.challenge);
    options.user.id = bytes(options.user.id);
    for (const known of options.excludeCredentials || []) known.id = bytes(known.id);
    const made = await navigator.credentials.create({ publicKey: options });
    const transports = made.response.getTransports ? made.response.getTransports() : [];
    return {
      id: made.id, rawId: text64(made.rawId), type: made.type,
      response: {
        clientDataJSON: text64(made.response.clientDataJSON),
        attestationObject: text64(made.response.attestationObject),
        transports,
      },
    };
  };
  const usePasskey = async (options) => {
    options.challenge = bytes(options.challenge);
    for (const known of options.allowCredentials || []) known.id = bytes(known.id);
    const used = await navigator.credentials.get({ publicKey: options });
    const handle = used.response.userHandle;
    return {
      id: used.id, rawId: text64(used.rawId), type: used.type,
      response: {
        clientDataJSON: text64(used.response.clientDataJSON),
        authenticatorData: text64(used.response.authenticatorData),
        signature: text64(used.response.signature),
        userHandle: handle ? text64(handle) : null,
      },
    };
  };

  const item = (list, text, label, work) => {
    const row = document.createElement("li");
    const words = document.createElement("span");
    words.textContent = text;
    row.append(words);
    if (work) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = label;
      button.setAttribute("aria-label", `${label}: ${text}`);
      button.addEventListener("click", doing(work));
      row.append(button);
    }
    list.append(row);
  };
  const when = (microseconds) => new Date(microseconds / 1000).toLocaleString();

  // --- signing in ----------------------------------------------------------------------------
  const arrived = (answer) => {
    if (answer.state === "code_wanted") {
      askForCode(answer.step);
      return;
    }
    say("You are signed in.", "good");
    go(answer.next);
  };
  const askForCode = (text) => {
    step = text;
    show("first", false);
    show("second", true);
    byId("code").focus();
  };

  const signInPage = async () => {
    let recovery = false;
    on("passkey", "click", async () => {
      const asked = await ask("POST", "/v1/sign-in/passkey/challenge");
      const response = await usePasskey(asked.options);
      arrived(await ask("POST", "/v1/sign-in/passkey", {
        step: asked.step, response, next: wanted(),
      }));
    });
    on("by-password", "submit", async () => {
      arrived(await ask("POST", "/v1/sign-in/password", {
        email: byId("email").value, password: byId("password").value, next: wanted(),
      }));
      byId("password").value = "";
    });
    on("by-code", "submit", async () => {
      arrived(await ask("POST", "/v1/sign-in/code", {
        step, code: byId("code").value, recovery, next: wanted(),
      }));
    });
    on("switch", "click", async () => {
      recovery = !recovery;
      byId("code-label").textContent = recovery ? "Recovery code" : "Code of your app";
      byId("code").inputMode = recovery ? "text" : "numeric";
      byId("switch").textContent = recovery ? "Use a code of the app" : "Use a recovery code";
      byId("code").value = "";
      byId("code").focus();
    });
    show("passkey", passkeysWork());
    show("or", passkeysWork());
    const began = new URLSearchParams(location.hash.slice(1)).get("step");
    if (began) {
      history.replaceState(null, "", location.pathname + location.search);
      askForCode(began);
    }
    const organization = new URLSearchParams(location.search).get("organization") || "";
    const offered = await ask("GET", `/v1/sign-in/issuers?organization_id=${encodeURIComponent(organization)}`);
    for (const issuer of offered.items) {
      item(byId("issuers"), issuer.name, "Continue", async () => {
        const begun = await ask("POST", "/v1/sign-in/outside", {
          issuer_id: issuer.id, next: wanted(),
        });
        location.assign(begun.url);
      });
    }
  };

  // --- a link or an invitation: used when the button is pressed, not when the page is opened ----
  const linkPage = (path, name) => async () => {
    const secret = location.hash.slice(1);
    history.replaceState(null, "", location.pathname);
    if (!secret) say("The link is not whole. Copy all of it, with what stands behind the #.", "wrong");
    on("use", "submit", async () => {
      const body = { [name]: secret };
      if (byId("name")) body.name = byId("name").value;
      arrived(await ask("POST", path, body));
    });
  };

  // --- ways to sign in ----------------------------------------------------------------------
  const showMethods = async () => {
    const methods = await ask("GET", "/v1/sign-in-methods");
    const list = byId("methods");
    list.replaceChildren();
    const removing = (path) => async () => {
      await ask("DELETE", path);
      await showMethods();
      say("Removed.", "good");
    };
    for (const passkey of methods.passkeys) {
      item(list, `Passkey: ${passkey.name}`, "Remove",
        removing(`/v1/sign-in-methods/passkeys/${passkey.id}`));
    }
    if (methods.password) item(list, "Password", "Remove", removing("/v1/sign-in-methods/password"));
    if (methods.one_time_codes) {
      item(list, `Codes of an app, and ${methods.recovery_codes} recovery codes`, "Remove",
        removing("/v1/sign-in-methods/one-time-codes"));
    }
    if (!list.children.length) item(list, "None yet");
    show("codes-begin", !methods.one_time_codes);
    show("codes-new", methods.one_time_codes);
    show("second-factor-note", methods.second_factor_required && !methods.complete);
    show("done", methods.complete);
    return methods;
  };
  const showCodes = (codes) => {
    byId("recovery-list").replaceChildren(...codes.map((code) => {
      const row = document.createElement("li");
      row.textContent = code;
      return row;
    }));
    show("recovery", true);
    byId("recovery").focus();
  };
  const methodsPart = async (own) => {
    show("introduction", !own.email);
    on("introduce", "submit", async () => {
      await ask("POST", "/v1/sign-in-methods/introduction", {
        name: byId("own-name").value, email: byId("own-email").value,
      });
      show("introduction", false);
      say("Thank you.", "good");
    });
    show("passkey-add", passkeysWork());
    on("add-passkey", "submit", async () => {
      const asked = await ask("POST", "/v1/sign-in-methods/passkeys/challenge");
      const response = await makePasskey(asked.options);
      await ask("POST", "/v1/sign-in-methods/passkeys", {
        step: asked.step, response, name: byId("passkey-name").value || "Passkey",
      });
      await showMethods();
      say("The passkey is registered.", "good");
    });
    on("set-password", "submit", async () => {
      if (byId("new-password").value !== byId("new-password-again").value) {
        say("The two passwords differ.", "wrong");
        return;
      }
      await ask("PUT", "/v1/sign-in-methods/password", { password: byId("new-password").value });
      byId("new-password").value = byId("new-password-again").value = "";
      await showMethods();
      say("The password is set. Other sessions were ended.", "good");
    });
    on("begin-codes", "click", async () => {
      const enrolment = await ask("POST", "/v1/sign-in-methods/one-time-codes");
      byId("secret").textContent = enrolment.secret.replace(/(.{4})/g, "$1 ").trim();
      byId("app-link").href = enrolment.uri;
      show("confirm-codes", true);
      byId("first-code").focus();
    });
    on("confirm-codes", "submit", async () => {
      const confirmed = await ask("POST", "/v1/sign-in-methods/one-time-codes/confirmation", {
        code: byId("first-code").value,
      });
      byId("secret").textContent = "";
      byId("app-link").removeAttribute("href");
      byId("first-code").value = "";
      show("confirm-codes", false);
      await showMethods();
      showCodes(confirmed.codes);
      say("Codes are set up.", "good");
    });
    on("renew-codes", "click", async () => {
      showCodes((await ask("POST", "/v1/sign-in-methods/recovery-codes")).codes);
    });
    await showMethods();
  };

  const setUpPage = async () => methodsPart(await session());

  const accountPage = async () => {
    const own = await session();
    byId("who").textContent = [own.name, own.email].filter(Boolean).join(", ") || "You";
    if (own.session.limited) {
      go("/sign-in/set-up");
      return;
    }
    const showSessions = async () => {
      const list = byId("sessions");
      list.replaceChildren();
      let cursor = "";
      do {
        const found = await ask("GET", `/v1/sessions?cursor=${encodeURIComponent(cursor)}`);
        for (const each of found.items) {
          const current = each.id === own.session.id;
          const words = `${each.device}, ${each.address}, last used ${when(each.seen_at)}`;
          item(list, current ? `${words} (this one)` : words, "End", current ? null : async () => {
            await ask("DELETE", `/v1/sessions/${each.id}`);
            await showSessions();
            say("The session was ended.", "good");
          });
        }
        cursor = found.next_cursor;
      } while (cursor);
    };
    on("sign-out", "click", async () => {
      await ask("DELETE", "/v1/session");
      go("/sign-in");
    });
    await showSessions();
    await methodsPart(own);
  };

  const devicePage = async () => {
    await session();
    byId("user-code").value = new URLSearchParams(location.search).get("code") || "";
    on("look", "submit", async () => {
      const device = await ask("POST", "/v1/devices/look", { user_code: byId("user-code").value });
      byId("device").textContent = device.device;
      byId("address").textContent = device.address;
      byId("asked").textContent = when(device.created_at);
      show("look", false);
      show("decide", true);
      byId("decide").focus();
    });
    const deciding = (approve) => async () => {
      await ask("POST", "/v1/devices/decision", { user_code: byId("user-code").value, approve });
      show("decide", false);
      say(approve ? "Signed in. You can go back to the terminal." : "The device was refused.", "good");
    };
    on("approve", "click", deciding(true));
    on("deny", "click", deciding(false));
  };

  const pages = {
    "sign-in": signInPage,
    link: linkPage("/v1/sign-in/link", "link"),
    invitation: linkPage("/v1/sign-in/invitation", "invitation"),
    "set-up": setUpPage,
    account: accountPage,
    device: devicePage,
  };
  if (pages[page]) saying(pages[page]);
})();
