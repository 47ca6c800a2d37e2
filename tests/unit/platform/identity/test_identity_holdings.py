"""What somebody held of sessions, keys and ways in when they leave, and that all of it ends."""

from __future__ import annotations

from tests.support.sign_in_kit import PASSWORD, House
from tests.support.software_passkey import SoftwarePasskey

from keylease.platform.db.callers import platform_itself


async def test_what_a_leaver_held_is_told_and_ends(house: House) -> None:
    owner = await house.owner()
    bob = await house.invited(owner, "bob@example.com", "viewer")
    passkey = SoftwarePasskey()
    await bob.add_passkey(passkey)
    await house.with_codes(bob)
    key = await bob.ask("POST", "/v1/api-keys", {"name": "k", "permissions": ["project:read"]})
    caller = (await bob.get("/v1/caller")).json()
    principal, organization = caller["principal"], caller["organization_id"]
    inside = platform_itself(organization)
    holdings = house.identity.holdings
    async with house.database.reading(inside) as tx:
        held = await holdings.held(tx, principal)
    kinds = sorted(holding.kind for holding in held)
    assert kinds == ["api_key", "one_time_codes", "passkey", "password", "session"]
    assert PASSWORD not in str(held)
    async with house.database.transaction(inside) as tx:
        released = await holdings.release(tx, principal, to="")
        assert await holdings.held(tx, principal) == []
    assert {holding.id for holding in released} == {holding.id for holding in held}
    assert (await bob.get("/v1/session")).status_code == 401
    robot = house.browser(authorization=f"Bearer {key['text']}")
    assert (await robot.get("/v1/caller")).status_code == 401
    assert (await house.browser().with_passkey(passkey)).status_code == 401
    assert (await house.browser().with_password(email="bob@example.com")).status_code == 401
    # The owner has lost nothing by it.
    assert (await owner.get("/v1/session")).status_code == 200


async def test_offboarding_reaches_them(house: House) -> None:
    owner = await house.owner()
    bob = await house.invited(owner, "bob@example.com", "viewer")
    user = (await bob.get("/v1/session")).json()["session"]["user_id"]
    holdings = await owner.ask("GET", f"/v1/users/{user}/holdings")
    assert "session" in str(holdings)
    assert "password" in str(holdings)
