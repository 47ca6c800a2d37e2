"""A lease that ends between the head of a request and the moment it would be sent."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.call_rig import CallRig, Sent
from tests.support.eventually import eventually

from keylease.contracts.policy import Revocation, RevocationKind

BODY = json.dumps({"model": "gpt-4o-mini", "messages": []}).encode()


def opened(rig: CallRig) -> Sent:
    """A request whose lease was admitted and whose body trickles in."""
    sent = rig.open(
        "POST",
        "/v1/chat/completions",
        headers=[(b"content-type", b"application/json")],
        length=len(BODY),
        has_body=True,
    )
    sent.handler.body_received(BODY[:-1])
    assert sent.status == 0
    return sent


def finish(sent: Sent) -> None:
    sent.handler.body_received(BODY[-1:])
    sent.handler.request_complete()


def revoke(rig: CallRig) -> None:
    rig.revocations.apply(
        Revocation(kind=RevocationKind.PRINCIPAL, value="user:ada", at=rig.clock.now() + 1_000_000)
    )


async def test_a_body_that_trickles_in_keeps_no_revoked_lease_alive() -> None:
    rig = CallRig()
    sent = opened(rig)
    revoke(rig)
    finish(sent)
    assert (sent.status, sent.code) == (401, "lease_revoked")
    assert not rig.calls
    assert [record.status for record in rig.link.records] == [401]


async def test_a_body_that_trickles_in_keeps_no_expired_lease_alive() -> None:
    rig = CallRig()
    sent = opened(rig)
    rig.clock.advance(899)
    still = opened(rig)
    finish(still)
    await eventually(lambda: len(rig.calls) == 1)
    rig.clock.advance(1)
    finish(sent)
    assert (sent.status, sent.code) == (401, "lease_expired")
    assert len(rig.calls) == 1


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_waiting_for_a_credential_keeps_no_lease_alive(how: str) -> None:
    rig = CallRig(warm=False)
    rig.link.fetch_gate = asyncio.Event()
    sent = opened(rig)
    finish(sent)
    await eventually(lambda: bool(rig.link.fetches))
    if how == "revoked":
        revoke(rig)
    else:
        rig.clock.advance(900)
    rig.link.fetch_gate.set()
    await eventually(lambda: sent.finished)
    assert (sent.status, sent.code) == (401, f"lease_{how}")
    assert not rig.calls
