"""The pages' own words and forms. Nothing of a request is in them."""

from __future__ import annotations

from typing import Final

SIGN_IN: Final = """
<h1>Sign in</h1>
<div id="first">
  <button id="passkey" class="full" type="button">Sign in with a passkey</button>
  <p id="or" class="or">or</p>
  <form id="by-password">
    <label for="email">Email address</label>
    <input id="email" type="email" autocomplete="username" required maxlength="254">
    <label for="password">Password</label>
    <input id="password" type="password" autocomplete="current-password" required maxlength="256">
    <button class="full quiet" type="submit">Sign in with the password</button>
  </form>
  <ul id="issuers" class="rows" aria-label="Other ways to sign in"></ul>
</div>
<div id="second" hidden>
  <form id="by-code">
    <label id="code-label" for="code">Code of your app</label>
    <input id="code" class="code" inputmode="numeric" autocomplete="one-time-code" required
      maxlength="64">
    <button class="full" type="submit">Continue</button>
  </form>
  <button id="switch" class="link" type="button">Use a recovery code</button>
</div>
"""

LINK: Final = """
<h1>Set up how you sign in</h1>
<p>This link works once. Press the button, and then register a passkey or set a password.</p>
<form id="use"><button class="full" type="submit">Continue</button></form>
"""

INVITATION: Final = """
<h1>You are invited</h1>
<p>The invitation works once. Then you register a passkey or set a password.</p>
<form id="use">
  <label for="name">Your name</label>
  <input id="name" autocomplete="name" maxlength="100">
  <button class="full" type="submit">Accept the invitation</button>
</form>
"""

_METHODS: Final = """
<section id="introduction" hidden aria-labelledby="introduction-title">
  <h2 id="introduction-title">Who you are</h2>
  <p class="soft">The address is what you sign in with by password.</p>
  <form id="introduce">
    <label for="own-name">Name</label>
    <input id="own-name" autocomplete="name" maxlength="100">
    <label for="own-email">Email address</label>
    <input id="own-email" type="email" autocomplete="email" required maxlength="254">
    <button type="submit">Save</button>
  </form>
</section>
<h2>How you can sign in</h2>
<ul id="methods" class="rows"></ul>
<p id="second-factor-note" hidden>Your organization requires a second factor: register a passkey, or
  set up codes of an app beside your password.</p>
<section id="passkey-add" hidden aria-labelledby="passkey-title">
  <h2 id="passkey-title">Add a passkey</h2>
  <p class="soft">Your fingerprint, face or PIN, or a security key. Nothing to remember, and nothing
    that a false page could ask you for.</p>
  <form id="add-passkey">
    <label for="passkey-name">Name of this device</label>
    <input id="passkey-name" maxlength="100" placeholder="Work laptop">
    <button type="submit">Add a passkey</button>
  </form>
</section>
<section aria-labelledby="password-title">
  <h2 id="password-title">Set a password</h2>
  <form id="set-password">
    <label for="new-password">New password, 12 characters or more</label>
    <input id="new-password" type="password" autocomplete="new-password" required minlength="12"
      maxlength="256">
    <label for="new-password-again">The same again</label>
    <input id="new-password-again" type="password" autocomplete="new-password" required
      maxlength="256">
    <button class="quiet" type="submit">Set the password</button>
  </form>
</section>
<section aria-labelledby="codes-title">
  <h2 id="codes-title">Codes of an app</h2>
  <div id="codes-begin">
    <p class="soft">A second factor beside the password: an app shows a new code every 30
      seconds.</p>
    <button id="begin-codes" class="quiet" type="button">Set up an app</button>
    <form id="confirm-codes" hidden>
      <p>Enter this key into the app, or <a id="app-link">open the app on this device</a>:</p>
      <p><code id="secret"></code></p>
      <label for="first-code">Code that the app shows</label>
      <input id="first-code" class="code" inputmode="numeric" autocomplete="one-time-code" required
        maxlength="10">
      <button type="submit">Confirm</button>
    </form>
  </div>
  <div id="codes-new" hidden>
    <button id="renew-codes" class="quiet" type="button">Make new recovery codes</button>
  </div>
  <div id="recovery" hidden tabindex="-1">
    <p><strong>Write these down.</strong> Each works once, when you do not have the app. They are
      not shown again.</p>
    <ul id="recovery-list" class="codes"></ul>
  </div>
</section>
"""

SET_UP: Final = f"""
<h1>Set up how you sign in</h1>
<p>Register a passkey, or set a password. You can have both.</p>
{_METHODS}
<p id="done" hidden><a class="button" href="/account">Done</a></p>
"""

ACCOUNT: Final = f"""
<h1>Your account</h1>
<p id="who" class="soft"></p>
<button id="sign-out" class="quiet" type="button">Sign out</button>
<h2>Sessions</h2>
<ul id="sessions" class="rows"></ul>
{_METHODS}
<p id="done" hidden></p>
"""

DEVICE: Final = """
<h1>Sign in a device</h1>
<form id="look">
  <p>Enter the code that <strong>your own terminal</strong> shows. If somebody sent you a code, do
    not enter it: they would be signed in as you.</p>
  <label for="user-code">Code</label>
  <input id="user-code" class="code" autocomplete="off" autocapitalize="characters" required
    maxlength="20" spellcheck="false">
  <button class="full" type="submit">Continue</button>
</form>
<div id="decide" hidden tabindex="-1">
  <p>This device will be signed in as you:</p>
  <dl>
    <dt>It calls itself</dt><dd id="device"></dd>
    <dt>Address</dt><dd id="address"></dd>
    <dt>Asked</dt><dd id="asked"></dd>
  </dl>
  <button id="approve" type="button">Sign it in</button>
  <button id="deny" class="quiet" type="button">Refuse</button>
</div>
"""
