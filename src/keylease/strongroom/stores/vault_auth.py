"""The gateway's own token at Vault or OpenBao: logging in, renewing, logging in again.

Protects: the token is held in memory only, renewed when two thirds of its time are over, and the
    tokens we logged in for are revoked when the store is closed.
Does not protect: the token, role id, secret id or JWT files that gateway.toml names.
Limits: a token of the method ``token`` that is not renewable, or has reached its greatest age, must
    be replaced in its file by somebody else; the file is read again when Vault refuses the token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec

from keylease.errors import KeyleaseError, StoreAccessDenied, StoreUnavailable, StoreUnsupported
from keylease.primitives import files
from keylease.primitives.clock import Clock
from keylease.primitives.tasks import TaskOwner
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.posture import Posture
from keylease.strongroom.stores.retries import Sleep
from keylease.strongroom.stores.vault_http import VaultAnswer, VaultHttp

TOKEN_VARIABLE: Final = "VAULT_TOKEN"  # noqa: S105 - the name of a variable
METHODS: Final = ("token", "approle", "jwt", "kubernetes")
_RENEW_AT: Final = 2 / 3
_LONGEST_FILE: Final = 64 * 1024
_POSTURE: Final = "vault:token"


class _Held:
    """A token and when it ends. Never shown."""

    __slots__ = ("expires_at", "token")

    def __init__(self, token: Secret, expires_at: float | None) -> None:
        self.token = token
        self.expires_at = expires_at
        """Monotonic seconds; None for a token that does not expire."""


class VaultSession:
    """Gives the token to use now."""

    def __init__(
        self,
        http: VaultHttp,
        settings: StoreSettings,
        *,
        clock: Clock,
        environment: Mapping[str, Secret],
        posture: Posture,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if settings.vault_auth not in METHODS:
            raise StoreUnsupported(
                f"There is no Vault login method {settings.vault_auth!r}.",
                advice=f"Set auth under [stores.vault] to one of: {', '.join(METHODS)}.",
            )
        self._http = http
        self._settings = settings
        self._clock = clock
        self._environment = environment
        self._posture = posture
        self._sleep = sleep
        self._held: _Held | None = None
        self._guard = asyncio.Lock()
        self._tasks = TaskOwner(self._keeper_failed)
        self._keeper: asyncio.Task[None] | None = None

    async def token(self) -> Secret:
        """The token, after a login if there is none or it has expired. Raises ``StoreError``."""
        async with self._guard:
            held = self._held
            if held is None or self._expired(held):
                held = await self._log_in()
            return held.token

    async def replaced(self, refused: Secret) -> Secret | None:
        """Another token for one that Vault answered 403 to, or ``None`` when it is still good.

        ``None`` means that the token's policies do not allow the request.
        """
        async with self._guard:
            held = self._held
            if held is not None and held.token is not refused:
                return held.token  # somebody else has replaced it meanwhile
            if (await self._look_up(refused)).status < HTTPStatus.BAD_REQUEST:
                return None
            self._drop()
            fresh = await self._log_in()
            return None if fresh.token.equals(refused) else fresh.token

    async def close(self) -> None:
        """Stop renewing, revoke a token we logged in for, and wipe it."""
        await self._tasks.close()
        held, self._held = self._held, None
        if held is None:
            return
        if self._settings.vault_auth != "token":
            try:
                async with asyncio.timeout(self._settings.timeout_seconds):
                    await self._http.send("POST", "auth/token/revoke-self", token=held.token)
            except (KeyleaseError, TimeoutError):
                self._posture.note(_POSTURE, "The Vault token was not revoked; it will expire.")
        held.token.wipe()

    # --- logging in -------------------------------------------------------------------------

    async def _log_in(self) -> _Held:
        if self._settings.vault_auth == "token":
            token = await self._configured_token()
            lifetime, renewable = _lifetime(await self._look_up(token), "data", "ttl")
        else:
            answer = await self._http.send(
                "POST", f"auth/{self._mount()}/login", body=await self._login_body()
            )
            if answer.status >= HTTPStatus.BAD_REQUEST:
                raise StoreAccessDenied(
                    f"Vault refuses the login by {self._settings.vault_auth}.",
                    advice="Check role, auth_mount and the files under [stores.vault]; "
                    "Vault's audit log names the reason.",
                )
            lifetime, renewable = _lifetime(answer, "auth", "lease_duration")
            token = _client_token(answer)
        expires_at = self._clock.monotonic() + lifetime if lifetime else None
        self._held = _Held(token, expires_at)
        self._posture.clear(_POSTURE)
        self._keep(lifetime=lifetime, renewable=renewable)
        return self._held

    def _mount(self) -> str:
        return self._settings.vault_auth_mount.strip("/") or self._settings.vault_auth

    async def _login_body(self) -> bytes:
        settings = self._settings
        if settings.vault_auth == "approle":
            role_id = await _file_content(settings.vault_role_id_file, "role_id_file")
            body = {"role_id": _text(role_id)}
            if settings.vault_secret_id_file:
                secret_id = await _file_content(settings.vault_secret_id_file, "secret_id_file")
                body["secret_id"] = _text(secret_id)
            return msgspec.json.encode(body)
        jwt = await _file_content(settings.vault_login_jwt_file, "jwt_file")
        return msgspec.json.encode({"role": settings.vault_role, "jwt": _text(jwt)})

    async def _configured_token(self) -> Secret:
        if self._settings.vault_token_file:
            return await _file_content(self._settings.vault_token_file, "token_file")
        token = self._environment.get(TOKEN_VARIABLE)
        if token is None or not len(token):
            raise StoreAccessDenied(
                "There is no Vault token.",
                advice="Set token_file under [stores.vault] in gateway.toml, or another auth.",
            )
        return Secret(token.reveal(why="hold it as the session's token"))

    # --- keeping ----------------------------------------------------------------------------

    def _keep(self, *, lifetime: float, renewable: bool) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        if not lifetime:
            return
        if renewable:
            self._keeper = self._tasks.start(self._renew(lifetime), name="vault-token")
        elif self._settings.vault_auth == "token":
            self._say_ending(lifetime)

    async def _renew(self, lifetime: float) -> None:
        """Renew until the token ends or cannot be extended; then the next fetch logs in again."""
        first = lifetime
        pause = lifetime * _RENEW_AT
        while True:
            await self._sleep(pause)
            held = self._held
            if held is None or self._expired(held):
                return
            try:
                answer = await self._http.send(
                    "POST", "auth/token/renew-self", token=held.token, body=b"{}"
                )
            except StoreUnavailable:
                pause = max(first / 20, 0.2)  # until it works again or the token has expired
                continue
            if answer.status >= HTTPStatus.BAD_REQUEST:
                self._ended(held)
                return
            lifetime, renewable = _lifetime(answer, "auth", "lease_duration")
            held.expires_at = self._clock.monotonic() + lifetime
            pause = lifetime * _RENEW_AT
            if not renewable or lifetime < first / 2:
                # The token nears its greatest age: each renewal would give less and less.
                if self._settings.vault_auth == "token":
                    self._say_ending(lifetime)
                else:
                    await self._sleep(pause)
                self._ended(held)
                return

    def _ended(self, held: _Held) -> None:
        if self._held is held:
            self._drop()

    def _drop(self) -> None:
        # Not wiped: a request may be under way with it.
        self._held = None

    def _expired(self, held: _Held) -> bool:
        return held.expires_at is not None and self._clock.monotonic() >= held.expires_at

    def _say_ending(self, lifetime: float) -> None:
        self._posture.note(
            _POSTURE,
            f"The Vault token cannot be renewed further and ends in {lifetime:.0f} seconds.",
        )

    def _keeper_failed(self, _error: BaseException) -> None:
        self._posture.note(_POSTURE, "Renewing the Vault token failed; a login follows its end.")

    async def _look_up(self, token: Secret) -> VaultAnswer:
        return await self._http.send("GET", "auth/token/lookup-self", token=token)


def _lifetime(answer: VaultAnswer, part: str, field: str) -> tuple[float, bool]:
    """Seconds (0: no end known) and whether it can be renewed."""
    if answer.status >= HTTPStatus.BAD_REQUEST:
        return 0.0, False  # a token without the right to look itself up may still read
    data: Any = answer.document().get(part)
    if not isinstance(data, dict):
        return 0.0, False
    seconds = data.get(field)
    lifetime = float(seconds) if isinstance(seconds, int | float) else 0.0
    return max(lifetime, 0.0), data.get("renewable") is True


def _client_token(answer: VaultAnswer) -> Secret:
    auth: Any = answer.document().get("auth")
    token = auth.get("client_token") if isinstance(auth, dict) else None
    if not isinstance(token, str) or not token:
        raise StoreUnavailable(
            "Vault answered a login without a token.",
            advice="Check that address and auth_mount under [stores.vault] are right.",
        )
    return Secret(token)


async def _file_content(path: str, setting: str) -> Secret:
    if not path:
        raise StoreUnsupported(
            f"The Vault login method needs {setting}.",
            advice=f"Set {setting} under [stores.vault] in gateway.toml.",
        )
    try:
        content = await asyncio.to_thread(files.read_bounded, Path(path), maximum=_LONGEST_FILE)
    except OSError as error:
        raise StoreAccessDenied(
            f"The file {path} ({setting}) cannot be read: {error.strerror}.",
            advice="It must be readable by the user that the gateway runs as.",
        ) from None
    stripped = content.strip()
    if not stripped or not stripped.isascii() or len(content) > _LONGEST_FILE:
        raise StoreAccessDenied(
            f"The file {path} ({setting}) does not hold what is needed.",
            advice="It has to hold that one text alone; check what should have written it.",
        )
    return Secret(stripped)


def _text(secret: Secret) -> str:
    return secret.reveal(why="log in to Vault").decode("ascii")
