"""Spans that are sent with a lease's trace token: whose they are, where they go, who is refused."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable

import msgspec
import pytest
from sqlalchemy import select
from tests.support.manual_clock import ManualClock
from tests.support.span_house import House
from tests.support.trace_kit import export
from tests.support.trace_token_kit import LEASE_ID, PRINCIPAL, TokenHand

from keylease.contracts import span_attributes as names
from keylease.contracts.policy import RevocationKind
from keylease.contracts.trace_tokens import LONGEST_TRACE_TOKEN, TRACE_TOKEN_PREFIX
from keylease.platform.db.tables import OUTBOX
from keylease.platform.traces.interfaces import PutSpan
from keylease.platform.traces.model import RawSpan
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.signatures import encode_base64url


@pytest.fixture
async def hand(house: House, clock: ManualClock) -> TokenHand:
    return await TokenHand(clock).join(house.services, house.acme)


def spans(house: House) -> list[RawSpan]:
    """As they are written."""
    writes = [write for batch in house.store.batches.values() for write in batch.writes]
    return [write.span for write in writes if isinstance(write, PutSpan)]


async def denials(house: House) -> list[dict[str, object]]:
    async with house.services.database.reading() as tx:
        rows = await tx.rows(select(OUTBOX.c.entry).order_by(OUTBOX.c.position))
    entries = [msgspec.json.decode(row["entry"]) for row in rows]
    return [entry for entry in entries if entry["action"] == "access.denied"]


async def test_spans_say_whose_lease_they_were_sent_with(house: House, hand: TokenHand) -> None:
    request = export("mine")
    span = request.resource_spans[0].scope_spans[0].spans[0]
    of_calls = {names.PRINCIPAL, names.LEASE_ID}
    for name in (names.SENDER, names.SENDER_LEASE_ID, *of_calls, "kept"):
        span.attributes.add(key=name).value.string_value = "user:somebody-else"
        resource = request.resource_spans[0].resource
        resource.attributes.add(key=name).value.string_value = "user:somebody-else"
    content = request.SerializeToString()

    assert (await house.send(hand.token(), content)).status_code == 200
    await house.settled()
    [taken] = spans(house)
    assert taken.attributes == {
        names.SENDER: PRINCIPAL,
        names.SENDER_LEASE_ID: LEASE_ID,
        "kept": "user:somebody-else",
    }
    assert set(taken.origin.resource) == {"kept"}

    # Nobody says it of themselves, with a key neither; a key passes on what gateways have exported.
    key = await house.key(house.acme)
    assert (await house.send(key, content)).status_code == 200
    await house.settled()
    assert set(spans(house)[-1].attributes) == {"kept", *of_calls}


async def test_spans_go_where_the_calls_of_the_lease_go(house: House, hand: TokenHand) -> None:
    apollo, gemini = [await house.project(house.acme, name) for name in ("apollo", "gemini")]
    token = hand.token(project="apollo")
    taken = [
        await house.send(token),
        await house.send(token, x_keylease_project="apollo"),
        await house.send(token, export("named", project=apollo).SerializeToString()),
    ]
    assert [answer.status_code for answer in taken] == [200, 200, 200]
    elsewhere = [
        await house.send(token, x_keylease_project="gemini"),
        await house.send(token, x_keylease_project=gemini),
        await house.send(token, x_keylease_project="nowhere"),
        await house.send(token, x_keylease_project="x" * 5000),
        await house.send(token, export("named", project="gemini").SerializeToString()),
    ]
    # Whether there is such a project is not said.
    assert {answer.status_code for answer in elsewhere} == {403}
    assert len({answer.text.partition("(")[0][2:] for answer in elsewhere}) <= 2
    mixed = export("one", project="gemini")
    mixed.resource_spans.extend(export("mine").resource_spans)
    partly = await house.send(token, mixed.SerializeToString())
    assert partly.status_code == 200
    assert b"another project" in partly.content
    await house.settled()
    assert {project for project, _ in house.found()} == {apollo}
    # What a lease calls a project that is not there goes to the default one, as its calls do.
    assert (await house.send(hand.token(project="gone"))).status_code == 200
    await house.settled()
    assert len({project for project, _ in house.found()} - {apollo, gemini}) == 1
    # Another project that is there was asked for three times, and that is written down.
    entries = await denials(house)
    assert [entry["principal"] for entry in entries] == [PRINCIPAL] * len(entries)
    assert len(entries) >= 3


def confused(hand: TokenHand) -> str:
    """Signed with what everybody can know: the public key as a shared secret."""
    head = json.dumps({"alg": "HS256", "kid": hand.gateway_id, "typ": "klt+jwt"}).encode()
    signed = encode_base64url(head) + b"." + encode_base64url(json.dumps(hand.claims()).encode())
    mac = hmac.digest(hand.public_key, signed, hashlib.sha256)
    return TRACE_TOKEN_PREFIX + (signed + b"." + encode_base64url(mac)).decode()


ATTACKS: dict[str, Callable[[TokenHand, int], str]] = {
    "nothing": lambda *_: TRACE_TOKEN_PREFIX,
    "no token": lambda *_: TRACE_TOKEN_PREFIX + "a.b.c",
    "too long": lambda hand, _: hand.token(sub="workload:" + "x" * 5000),
    "no ASCII": lambda hand, _: hand.token() + "\xe4",
    "stray bits": lambda hand, _: hand.token() + "=",
    "changed": lambda hand, _: hand.token()[:-4] + "AAAA",
    "no algorithm": lambda hand, _: hand.signed(hand.claims(), alg="none"),
    "no signature": lambda hand, _: hand.signed(hand.claims(), alg="none").rpartition(".")[0] + ".",
    "another algorithm": lambda hand, _: hand.signed(hand.claims(), alg="ES256"),
    "key confusion": lambda hand, _: confused(hand),
    "a lease's type": lambda hand, _: hand.signed(hand.claims(), typ="kll+jwt"),
    "any type": lambda hand, _: hand.signed(hand.claims(), typ="JWT"),
    "no type": lambda hand, _: hand.signed(hand.claims(), typ=None),
    "no key": lambda hand, _: hand.signed(hand.claims(), kid=None),
    "no such gateway": lambda hand, _: hand.signed(hand.claims(), kid=LEASE_ID),
    "its id otherwise written": lambda hand, _: hand.signed(
        hand.claims(), kid=hand.gateway_id.upper()
    ),
    "a path as key": lambda hand, _: hand.signed(hand.claims(), kid="../../dev/null"),
    "a query as key": lambda hand, _: hand.signed(hand.claims(), kid="' OR 1=1 --"),
    "a key of its own": lambda hand, _: hand.signed(hand.claims(), jwk="{}"),
    "an extension": lambda hand, _: hand.signed(hand.claims(), crit="x"),
    "for a gateway": lambda hand, _: hand.token(aud="keylease-gateway"),
    "for two": lambda hand, _: hand.token(aud=["keylease-ingest"]),
    "of another gateway": lambda hand, _: hand.token(iss=LEASE_ID),
    "of another organization": lambda hand, _: hand.token(organization=LEASE_ID),
    "of nobody": lambda hand, _: hand.token(sub="nobody"),
    "of a gateway": lambda hand, _: hand.token(sub=f"gateway:{hand.gateway_id}"),
    "ended": lambda hand, now: hand.token(exp=now),
    "for too long": lambda hand, now: hand.token(exp=now + LONGEST_TRACE_TOKEN + 1),
    "from the future": lambda hand, now: hand.token(iat=now + 301, exp=now + 400),
    "no times": lambda hand, _: hand.signed(
        {name: value for name, value in hand.claims().items() if name not in ("iat", "exp")}
    ),
    "times as text": lambda hand, now: hand.token(exp=str(now + 60)),
    "a member twice": lambda hand, _: hand.signed(
        json.dumps(hand.claims()).encode().replace(b"{", b'{"sub": "user:x", ', 1)
    ),
    "no object": lambda hand, _: hand.signed(b"[]"),
}  # fmt: skip


async def test_what_is_no_good_trace_token_sends_nothing(
    house: House, hand: TokenHand, clock: ManualClock
) -> None:
    now = clock.now() // MICROSECONDS
    for name, attack in ATTACKS.items():
        token = attack(hand, now)
        answer = await house.api.post(
            "/v1/traces",
            content=export("x").SerializeToString(),
            headers={
                b"content-type": b"application/x-protobuf",
                b"authorization": b"Bearer " + token.encode("latin-1"),
            },
        )
        assert answer.status_code == 401, name
        assert b"trace_token_refused" in answer.content, name
        assert token not in answer.text, name
    # A gateway of another organization is known, and speaks for its own only.
    stranger = await TokenHand(clock).join(house.services, house.zebra)
    for token in (
        stranger.token(organization=house.acme.organization_id),
        stranger.signed(hand.claims(), kid=hand.gateway_id),
        stranger.signed(hand.claims()),
    ):
        assert (await house.send(token)).status_code == 401
    assert (await house.send(stranger.token(project="x"))).status_code == 200
    await house.settled()
    assert {row.organization_id for row in house.store.rows.values()} == {
        house.zebra.organization_id
    }
    # It opens nothing else of the platform, and a lease still sends nothing.
    for path in ("/v1/projects", "/v1/whoami", "/v1/api-keys"):
        answer = await house.api.get(path, headers={"authorization": f"Bearer {hand.token()}"})
        assert answer.status_code in (401, 404), path
    lease = "kll_" + hand.token().removeprefix(TRACE_TOKEN_PREFIX)
    refused = await house.send(lease)
    assert refused.status_code == 401
    assert b"ingest_key_required" in refused.content


async def test_a_token_ends_with_its_gateway_and_its_lease(
    house: House, hand: TokenHand, clock: ManualClock
) -> None:
    revocations, owner = house.services.policy.revocations, house.acme.owner
    via = "01a00000-0000-7000-8000-0000000000bb"
    cases = [
        (RevocationKind.LEASE, LEASE_ID, False),
        (RevocationKind.PRINCIPAL, PRINCIPAL, True),
        (RevocationKind.ADMISSION, via, True),
        (RevocationKind.ALL, "", True),
    ]
    for kind, value, again in cases:
        token = hand.token(via=via)
        assert (await house.send(token)).status_code == 200, kind
        made = await revocations.revoke(owner, kind, value)
        clock.advance(1.1)  # what was decided a moment ago
        refused = await house.send(token)
        assert (refused.status_code, b"was revoked" in refused.content) == (401, True), kind
        # A lease that was issued after it is good again, where it is not that one lease.
        later = await house.send(hand.token(via=via))
        assert later.status_code == (200 if again else 401), kind
        await revocations.lift(owner, made.id)
        clock.advance(1.1)
    # Leases of others live on.
    await revocations.revoke(owner, RevocationKind.PRINCIPAL, "workload:other")
    token = hand.token()
    assert (await house.send(token)).status_code == 200

    gateways = house.services.link.gateways
    await gateways.revoke(owner, hand.gateway_id, expected=1)
    clock.advance(1.1)
    refused = await house.send(token)
    assert (refused.status_code, b"gateway" in refused.content) == (401, True)


async def test_a_token_ends_by_the_platforms_clock(
    house: House, hand: TokenHand, clock: ManualClock
) -> None:
    # A gateway's clock may be ahead as far as the link allows.
    now = clock.now() // MICROSECONDS
    ahead = hand.token(iat=now + 299, exp=now + 299 + LONGEST_TRACE_TOKEN)
    token = hand.token()
    assert [(await house.send(one)).status_code for one in (token, ahead)] == [200, 200]
    clock.advance(LONGEST_TRACE_TOKEN)
    assert [(await house.send(one)).status_code for one in (token, ahead)] == [401, 200]
