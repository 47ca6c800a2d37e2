"""P9, the platform's keys and its clock: a key that is gone is not replaced in silence, and a clock
that goes back brings nothing back to life.

That a gateway stops at the end of its bundle: tests/integration/link/test_gateway_with_platform.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import msgspec
import pytest
from tests.support.databases import (
    clock,
    database,
    migrated_postgres,
    migrated_sqlite,
    migrated_url,
    postgres,
)
from tests.support.furnished import BODIES, bearer, client, tenant
from tests.support.link_kit import GatewayHand
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for
from tests.support.sign_in_kit import EMAIL, PASSWORD, House, house_of

from keylease.contracts import platform_link as wire
from keylease.contracts.policy import PolicyBundle
from keylease.errors import PolicyKeyUnavailable
from keylease.platform.db.database import Database
from keylease.platform.identity.sealing import KEY_FILE
from keylease.platform.server.services import Services

__all__ = ["clock", "database", "migrated_postgres", "migrated_sqlite", "migrated_url", "postgres"]
DAY = 24 * 3600


async def published(api: httpx.AsyncClient, name: str) -> None:
    """Another grant, in force."""
    _, grant = BODIES["policy_grant_id"]
    assert (await api.post("/v1/policy-grants", json=grant | {"name": name})).is_success
    draft = await api.get("/v1/policy")
    answer = await api.post(
        "/v1/policy/publish", json={}, headers={"if-match": draft.headers["etag"]}
    )
    assert answer.is_success, answer.text


async def bundle(services: Services, organization_id: str) -> PolicyBundle:
    signed = await services.policy.bundles.bundle(organization_id, "edge")
    assert signed is not None
    return msgspec.json.decode(signed.payload, type=PolicyBundle)


def files_below(folder: Path) -> list[Path]:
    return list(folder.glob("*/*"))


async def test_a_policy_key_that_is_gone_is_not_replaced(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with services_for(database, clock, tmp_path) as services:
        acme = await tenant(services, "Acme")
        async with client(services, await bearer(services, acme)) as api:
            await published(api, "one")
            before = await bundle(services, acme.organization_id)
    shutil.rmtree(tmp_path / "policy-keys")
    async with services_for(database, clock, tmp_path) as services:
        authorization = await bearer(services, acme)
        async with client(services, authorization) as api:
            # People go on working, and their changes are kept ...
            await published(api, "two")
            # ... but no gateway is given anything, and a new one does not come in.
            with pytest.raises(PolicyKeyUnavailable):
                await bundle(services, acme.organization_id)
            hand = GatewayHand(clock)
            refused = await api.post("/v1/gateways/enrolment-codes", json={"group": "edge"})
            if refused.is_success:
                wish = hand.wish(refused.json()["code"], group="edge")
                service = services.link.service
                enrolled = await service.enroll(hand.json(wire.ENROLMENTS, wish))
                hand.gateway_id = enrolled.gateway_id
                with pytest.raises(PolicyKeyUnavailable):
                    await service.poll(hand.json(wire.POLL, wire.PollRequest(software="1")))
    assert not files_below(tmp_path / "policy-keys"), "no other key was made instead"
    assert before.grants


async def test_without_the_sign_in_key_a_second_factor_does_not_fall_away(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house_of(database, clock, tmp_path, monkeypatch) as house:
        app, recovery = await house.with_codes(await house.owner())
    (tmp_path / KEY_FILE).unlink()
    async with house_of(database, clock, tmp_path, monkeypatch) as house:
        clock.advance(60)
        first = await house.browser().with_password()
        assert first.json()["state"] == "code_wanted", first.text
        wrong = await second(house, first, house.code(app))
        assert not wrong.is_success
        assert "keylease_session" not in wrong.headers.get("set-cookie", "")
        # A recovery code is no sealed secret, and the way out.
        again = await house.browser().with_password()
        assert (await second(house, again, recovery[0], recovery=True)).is_success


async def second(
    house: House, first: httpx.Response, code: str, *, recovery: bool = False
) -> httpx.Response:
    body = {"step": first.json()["step"], "code": code, "recovery": recovery}
    return await house.browser().post("/v1/sign-in/code", body)


async def test_a_clock_that_goes_back_brings_nothing_back(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house_of(database, clock, tmp_path, monkeypatch) as house:
        link = await house.link()
        owner = house.browser()
        await owner.ask("POST", "/v1/sign-in/link", {"link": link})
        introduction = {"name": "Ada", "email": EMAIL}
        await owner.ask("POST", "/v1/sign-in-methods/introduction", introduction)
        await owner.ask("PUT", "/v1/sign-in-methods/password", {"password": PASSWORD})
        app, _ = await house.with_codes(owner)
        wanted = {"name": "x", "permissions": ["project:read"]}
        key = await owner.ask("POST", "/v1/api-keys", wanted)
        await owner.ask("DELETE", f"/v1/api-keys/{key['key']['id']}", if_match='"1"')
        clock.advance(60)
        code = house.code(app)
        first = await house.browser().with_password()
        assert (await second(house, first, code)).is_success
        ended = owner.session
        await owner.ask("DELETE", "/v1/session")
        # Revoked, ended, used: by what was written down, whatever the time is.
        for back in (0, 20, DAY, 400 * DAY):
            clock.set_back(back)
            with_key = house.browser(authorization=f"Bearer {key['text']}")
            assert (await with_key.get("/v1/projects")).status_code == httpx.codes.UNAUTHORIZED
            with_session = house.browser(cookie=f"keylease_session={ended}")
            assert (await with_session.get("/v1/session")).status_code == httpx.codes.UNAUTHORIZED
            again = await house.browser().post("/v1/sign-in/link", {"link": link})
            assert not again.is_success
            first = await house.browser().with_password()
            # Attempts are counted too, and refused beyond some.
            assert not first.is_success or not (await second(house, first, code)).is_success


async def test_bundles_go_on_when_the_clock_goes_back(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with services_for(database, clock, tmp_path) as services:
        acme = await tenant(services, "Acme")
        clock.advance(7200)  # nobody's rights begin after the time that the clock goes back to
        async with client(services, await bearer(services, acme)) as api:
            await published(api, "one")
            before = await bundle(services, acme.organization_id)
            clock.set_back(3600)
            await published(api, "two")
            after = await bundle(services, acme.organization_id)
    # The number decides what is newer, never the time; and it is good for no longer than it says.
    assert after.version > before.version
    assert after.expires_at < before.expires_at
