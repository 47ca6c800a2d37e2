"""Tokens by which a gateway learns who somebody is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.sign_in_kit import Browser, House

from keylease.errors import ConfigurationError, SignatureInvalid
from keylease.platform.identity.identity_tokens.signing_keys import (
    KEY_FILE,
    PUBLISHED_SECONDS,
    SigningKeys,
)
from keylease.primitives.signatures import read_ed25519_jwk, split_compact, verify_ed25519


async def token_of(browser: Browser) -> Any:  # noqa: ANN401 - JSON
    return await browser.ask("POST", "/v1/identity-token", {"gateway_group": "eu-1"})


async def claims_of(house: House, token: str) -> dict[str, Any]:
    """What a gateway would read, with the keys that are published."""
    stranger = house.browser()
    metadata = (await stranger.get("/.well-known/openid-configuration")).json()
    keys = (await stranger.get(metadata["jwks_uri"].removeprefix(metadata["issuer"]))).json()
    jws = split_compact(token.encode(), maximum_bytes=4096)
    (jwk,) = [key for key in keys["keys"] if key["kid"] == jws.header_text("kid")]
    claims: dict[str, Any] = json.loads(verify_ed25519(read_ed25519_jwk(jwk), jws))
    assert claims["iss"] == metadata["issuer"] == "http://localhost:4140"
    return claims


async def test_a_person_gets_a_token_for_one_group_and_five_minutes(house: House) -> None:
    owner = await house.owner()
    issued = await token_of(owner)
    claims = await claims_of(house, issued["token"])
    session = (await owner.get("/v1/session")).json()
    assert claims["sub"] == f"user:{session['session']['user_id']}"
    assert claims["aud"] == "keylease-gateway/eu-1"
    assert claims["exp"] - claims["iat"] == issued["expires_in"] == 300
    assert claims["organization"] == session["organization_id"]
    assert claims["jti"] == issued["id"]
    assert (await token_of(owner))["id"] != issued["id"]
    entry = next(e for e in await house.entries() if e["action"] == "identity_token.issued")
    assert entry["object"] == issued["id"]


async def test_no_token_outlives_what_it_was_asked_with(house: House) -> None:
    owner = await house.owner()
    body = {"name": "k", "permissions": ["lease:exchange"], "days": 1}
    shown = await owner.ask("POST", "/v1/api-keys", body)
    robot = house.browser(authorization=f"Bearer {shown['text']}")
    claims = await claims_of(house, (await token_of(robot))["token"])
    assert claims["via"] == shown["key"]["id"]
    house.clock.advance(24 * 3600 - 100)
    assert (await token_of(robot))["expires_in"] == 100


async def test_who_does_not_hold_lease_exchange_gets_none(house: House) -> None:
    owner = await house.owner()
    viewer = await house.invited(owner, "bob@example.com", "viewer")
    body = {"gateway_group": "eu-1"}
    assert (await viewer.post("/v1/identity-token", body)).status_code == 403
    key = {"name": "k", "permissions": ["project:read"]}
    shown = await owner.ask("POST", "/v1/api-keys", key)
    robot = house.browser(authorization=f"Bearer {shown['text']}")
    assert (await robot.post("/v1/identity-token", body)).status_code == 403
    assert (await house.browser().post("/v1/identity-token", body)).status_code == 401
    for group in ("", "a b", "a/b", "x" * 65, "a\nb"):
        wrong = await owner.post("/v1/identity-token", {"gateway_group": group})
        assert wrong.status_code == 422


async def test_a_rotated_key_is_published_while_its_tokens_live(house: House) -> None:
    owner = await house.owner()
    before = (await token_of(owner))["token"]
    rotated = await owner.ask("POST", "/v1/identity-token/keys/rotate", {})
    after = (await token_of(owner))["token"]
    assert split_compact(after.encode(), maximum_bytes=4096).header_text("kid") == rotated["kid"]
    for token in (before, after):
        await claims_of(house, token)
    house.clock.advance(PUBLISHED_SECONDS + 1)
    keys = (await house.browser().get("/.well-known/jwks.json")).json()["keys"]
    assert [key["kid"] for key in keys] == [rotated["kid"]]
    assert all("d" not in key for key in keys)
    viewer = await house.invited(owner, "bob@example.com", "admin")
    assert (await viewer.post("/v1/identity-token/keys/rotate")).status_code == 403


def test_the_key_file_is_its_owners_alone(tmp_path: Path, clock: ManualClock) -> None:
    keys = SigningKeys(tmp_path, clock=clock)
    file = tmp_path / KEY_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert SigningKeys(tmp_path, clock=clock).public() == keys.public()
    assert str(keys) == repr(keys)
    assert file.read_text()[30:60] not in repr(keys)
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="others"):
        SigningKeys(tmp_path, clock=clock)
    file.chmod(0o600)
    for broken in ("", "{}", '{"format":2,"keys":[]}', '{"format":1,"keys":[]}', "x" * 70_000):
        file.write_text(broken)
        with pytest.raises(ConfigurationError):
            SigningKeys(tmp_path, clock=clock)


async def test_a_changed_token_is_no_token(house: House) -> None:
    owner = await house.owner()
    token = (await token_of(owner))["token"]
    head, payload, signature = token.split(".")
    with pytest.raises(SignatureInvalid):
        await claims_of(house, f"{head}.{payload[:-2]}AA.{signature}")
