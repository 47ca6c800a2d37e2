"""Attempts to sign in with less than is asked for, and to do more with a session than it may."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from sqlalchemy import insert
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import PUBLIC_URL, client_of, server_of, services_for

from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.database import Database
from keylease.platform.identity.interfaces import KnownUser
from keylease.platform.identity.one_time import digest_of
from keylease.platform.identity.outside.tables import IDENTITIES
from keylease.platform.identity.sign_in import repository
from keylease.platform.identity.sign_in.interfaces import StoredPasskey
from keylease.platform.server.services import Services
from keylease.primitives.identifiers import uuid7

EMAIL = "ada@example.org"
PASSWORD = "seven green kettles on a roof"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture
async def services(
    database: Database, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[Services]:
    async with services_for(database, clock, tmp_path) as joined:
        yield joined


@pytest.fixture
async def browser(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """The owner's, who has just set up a password."""
    link = await services.identity.first_start.sign_in_link()
    async with client_of(server_of(services), origin=PUBLIC_URL) as client:
        answer = await client.post("/v1/sign-in/link", json={"link": link.partition("#")[2]})
        client.headers["x-csrf-token"] = answer.json()["csrf_token"]
        await changed(
            client.post("/v1/sign-in-methods/introduction", json={"name": "Ada", "email": EMAIL})
        )
        answer = await changed(
            client.put("/v1/sign-in-methods/password", json={"password": PASSWORD})
        )
        client.headers["x-csrf-token"] = answer.json()["csrf_token"]
        yield client


async def changed(asked: object) -> httpx.Response:
    answer: httpx.Response = await asked  # type: ignore[misc]  # an awaitable of the client
    assert answer.is_success, answer.text
    return answer


async def owner_of(services: Services) -> KnownUser:
    async with services.database.reading() as tx:
        (user,) = await services.directory.users_by_email(tx, EMAIL)
    return user


async def give_passkey(services: Services, user: KnownUser, clock: ManualClock) -> None:
    caller = platform_itself(user.organization_id)
    async with services.database.transaction(caller) as tx:
        await repository.add_passkey(
            tx,
            StoredPasskey(
                id=uuid7(clock),
                organization_id=user.organization_id,
                user_id=user.id,
                credential_id=b"credential",
                credential_digest=digest_of("credential", purpose="passkey"),
                public_key=b"key",
                sign_count=0,
                aaguid="",
                transports="",
                backed_up=False,
                name="laptop",
                created_at=tx.now,
                used_at=None,
                version=1,
            ),
        )


async def ask_for_two_factors(services: Services, caller: Caller) -> None:
    settings = await services.identity.settings.read(caller)
    wanted = type(settings)(second_factor_required=True)
    await services.identity.settings.change(caller, wanted, expected=settings.version)


async def test_a_password_alone_adds_no_second_factor_beside_a_passkey(
    services: Services, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    user = await owner_of(services)
    await give_passkey(services, user, clock)
    await ask_for_two_factors(services, platform_itself(user.organization_id))
    async with client_of(server_of(services), origin=PUBLIC_URL) as thief:
        answer = await thief.post(
            "/v1/sign-in/password", json={"email": EMAIL, "password": PASSWORD}
        )
        assert answer.status_code == 401, answer.text
        assert not thief.cookies
    assert (await browser.get("/v1/session")).is_success


async def command_line(services: Services, browser: httpx.AsyncClient) -> httpx.AsyncClient:
    """A command line that somebody has approved in the browser."""
    device = client_of(server_of(services))  # closed by whoever asks for it
    started = await changed(form(device, "/oauth/device_authorization", device_name="laptop"))
    await changed(
        browser.post(
            "/v1/devices/decision",
            json={"user_code": started.json()["user_code"], "approve": True},
        )
    )
    token = await changed(
        form(
            device,
            "/oauth/token",
            grant_type=DEVICE_GRANT,
            device_code=started.json()["device_code"],
        )
    )
    device.headers["authorization"] = f"Bearer {token.json()['access_token']}"
    return device


async def form(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    return await client.post(
        path,
        content=urlencode({"client_id": "keylease-cli", **fields}),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )


async def test_an_approved_device_does_not_change_how_its_owner_signs_in(
    services: Services, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    # The owner's session is too old to change anything about signing in ...
    clock.advance(20 * 60)
    mine = {"password": "nine yellow boats under ice"}
    late = await browser.put("/v1/sign-in-methods/password", json=mine)
    assert late.json()["code"] == "sign_in_again"
    # ... and a device that it approves is no way around that, nor a beginning of more devices.
    async with contextlib.aclosing(await command_line(services, browser)) as device:
        assert (await device.get("/v1/session")).is_success
        for asked in (
            device.put("/v1/sign-in-methods/password", json=mine),
            device.post("/v1/sign-in-methods/passkeys/challenge"),
            device.post("/v1/sign-in-methods/one-time-codes"),
        ):
            assert (await asked).status_code == 403
        started = await changed(form(device, "/oauth/device_authorization", device_name="two"))
        decision = {"user_code": started.json()["user_code"], "approve": True}
        assert (await device.post("/v1/devices/decision", json=decision)).status_code == 403
    async with client_of(server_of(services), origin=PUBLIC_URL) as owner:
        signed_in = {"email": EMAIL, "password": PASSWORD}
        await changed(owner.post("/v1/sign-in/password", json=signed_in))


async def test_no_link_is_printed_for_an_owner_who_signs_in_outside(
    services: Services, clock: ManualClock
) -> None:
    assert await services.identity.first_start.sign_in_link()
    async with services.database.transaction() as tx:
        owner = await services.directory.owner_to_set_up(tx)
        await tx.execute(
            insert(IDENTITIES).values(
                organization_id=owner.organization_id,
                issuer_id=uuid7(clock),
                subject_digest=digest_of("ada", purpose="subject"),
                user_id=owner.id,
                linked_at=tx.now,
            )
        )
    assert not await services.identity.first_start.sign_in_link()
