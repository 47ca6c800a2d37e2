"""People who sign in, in tests: a browser that keeps its cookies, and a platform to sign in to.

async with house_of(database, clock, tmp_path) as house:
    ada = await house.owner()          # signed in, with a password
    answer = await ada.get("/v1/session")
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import client_of, server_of, services_for
from tests.support.software_passkey import SoftwarePasskey

from keylease.platform.audit import repository
from keylease.platform.db.database import Database
from keylease.platform.identity import joined
from keylease.platform.identity.sign_in.passwords import Parameters, PasswordHasher
from keylease.platform.server.services import Services
from keylease.primitives.clock import MICROSECONDS

EMAIL = "ada@example.com"
PASSWORD = "four words that fit well"
CHEAP = Parameters(memory_kib=64, passes=1, lanes=1)


class Browser:
    """Keeps cookies, and sends the CSRF text that the last answer gave."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.csrf = ""

    async def send(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.csrf:
            sent.setdefault("x-csrf-token", self.csrf)
        answer = await self.client.request(method, path, json=body, headers=sent)
        if answer.headers.get("content-type") == "application/json" and answer.content:
            read = answer.json()
            if isinstance(read, dict) and read.get("csrf_token"):
                self.csrf = read["csrf_token"]
        return answer

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.send("GET", path, **headers)

    async def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        return await self.send("POST", path, {} if body is None else body, **headers)

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:  # noqa: ANN401 - JSON
        """As ``send``, and it must succeed."""
        answer = await self.send(method, path, body, **headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    @property
    def session(self) -> str:
        return self.client.cookies.get("keylease_session") or ""

    async def with_password(
        self, email: str = EMAIL, password: str = PASSWORD, **more: object
    ) -> httpx.Response:
        return await self.post(
            "/v1/sign-in/password", {"email": email, "password": password, **more}
        )

    async def add_passkey(self, passkey: SoftwarePasskey, name: str = "Laptop") -> httpx.Response:
        asked = await self.ask("POST", "/v1/sign-in-methods/passkeys/challenge", {})
        return await self.post(
            "/v1/sign-in-methods/passkeys",
            {"step": asked["step"], "response": passkey.register(asked["options"]), "name": name},
        )

    async def with_passkey(self, passkey: SoftwarePasskey) -> httpx.Response:
        asked = await self.ask("POST", "/v1/sign-in/passkey/challenge", {})
        return await self.post(
            "/v1/sign-in/passkey",
            {"step": asked["step"], "response": passkey.sign_in(asked["options"])},
        )


class House:
    """A platform in this process."""

    def __init__(self, services: Services, clock: ManualClock) -> None:
        self.services = services
        self.identity = services.identity
        self.database = services.database
        self.clock = clock
        self.app = server_of(services)
        self._clients: list[httpx.AsyncClient] = []

    def browser(self, **headers: str) -> Browser:
        """A browser that nobody has signed in with."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        client = client_of(self.app, **sent)
        self._clients.append(client)
        return Browser(client)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()

    async def link(self) -> str:
        """What stands behind the ``#`` of the owner's link."""
        return (await self.identity.first_start.sign_in_link()).partition("#")[2]

    async def arrived(self) -> Browser:
        """The owner, by the first link: signed in for setting up, and for nothing else."""
        browser = self.browser()
        await browser.ask("POST", "/v1/sign-in/link", {"link": await self.link()})
        await browser.ask(
            "POST", "/v1/sign-in-methods/introduction", {"name": "Ada", "email": EMAIL}
        )
        return browser

    async def owner(self) -> Browser:
        """The owner, signed in, with a password."""
        browser = await self.arrived()
        await browser.ask("PUT", "/v1/sign-in-methods/password", {"password": PASSWORD})
        return browser

    async def invited(self, owner: Browser, email: str, role_id: str = "") -> Browser:
        """Somebody whom the owner has invited, signed in, with a password."""
        body = {"email": email, "name": "Bob", "role_id": role_id}
        made = await owner.ask("POST", "/v1/invitations", body)
        browser = self.browser()
        await browser.ask(
            "POST", "/v1/sign-in/invitation", {"invitation": made["link"].partition("#")[2]}
        )
        await browser.ask("PUT", "/v1/sign-in-methods/password", {"password": PASSWORD})
        return browser

    async def with_codes(self, browser: Browser) -> tuple[pyotp.TOTP, list[str]]:
        """Set one-time codes up; gives the app and the recovery codes."""
        enrolment = await browser.ask("POST", "/v1/sign-in-methods/one-time-codes", {})
        app = pyotp.TOTP(enrolment["secret"])
        confirmed = await browser.ask(
            "POST", "/v1/sign-in-methods/one-time-codes/confirmation", {"code": self.code(app)}
        )
        return app, confirmed["codes"]

    def code(self, app: pyotp.TOTP, *, steps: int = 0) -> str:
        """What the app shows now, or some steps of thirty seconds from now."""
        return app.at(self.clock.now() // MICROSECONDS, counter_offset=steps)

    async def entries(self) -> list[Mapping[str, Any]]:
        """The audit entries of all that was committed, log by log."""
        await self.services.audit.sequencer.drain()
        async with self.database.reading() as tx:
            logs = await repository.known_logs(tx)
        files = self.services.audit.sequencer._files
        found: list[Mapping[str, Any]] = []
        for log in logs:
            checkpoint = files.checkpoint(log.log_id)
            size = checkpoint[0].size if checkpoint else 0
            raw = files.reader(log.log_id).entries(0, size, size=size)
            found += [json.loads(entry) for entry in raw]
        return found

    async def require_second_factor(self, owner: Browser) -> None:
        settings = await owner.get("/v1/sign-in-settings")
        body = {**settings.json(), "second_factor_required": True}
        del body["version"]
        await owner.ask("PUT", "/v1/sign-in-settings", body, if_match=settings.headers["etag"])


@asynccontextmanager
async def house_of(
    database: Database, clock: ManualClock, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    """A platform whose passwords are cheap to check."""
    monkeypatch.setattr(joined, "PasswordHasher", partial(cheap_hasher, PasswordHasher))
    async with services_for(database, clock, directory) as services:
        house = House(services, clock)
        try:
            yield house
        finally:
            await house.close()


@pytest.fixture
async def house(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    """Import it into a conftest.py, beside ``tests.support.databases``."""
    async with house_of(database, clock, tmp_path / "platform", monkeypatch) as made:
        yield made


def cheap_hasher(kind: type[PasswordHasher], _: Parameters) -> PasswordHasher:
    return kind(CHEAP)
