"""A gateway with a platform one version back or ahead, and a platform with such gateways.

The frozen samples are in tests/unit/contracts/test_link_versions.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from tests.support.furnished import call_record, tenant
from tests.support.hostile_upstream import hostile_upstream
from tests.support.link_kit import GatewayHand
from tests.support.linked_gateway import LinkedPlace, call, wait_for
from tests.support.manual_clock import ManualClock
from tests.support.other_minor import AnswersOf, Document, newer, older, without
from tests.support.platform_kit import client_of, server_of, services_for
from tests.support.policy_kit import credential, grant, publish, route
from tests.support.serving_platform import ServingPlatform, serving_platform

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditAction, AuditEntry
from keylease.contracts.purposes import Purpose
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.records.calls import CallFilter
from keylease.primitives.identifiers import uuid7

__all__ = ["clock", "database", "migrated_postgres", "migrated_sqlite", "migrated_url", "postgres"]


def of_yesterday(answer: Document) -> Document:
    """Without the version, and without what can be left out when it says nothing."""
    empty = [name for name, value in answer.items() if value in (None, "", 0, False, [], {})]
    return without(answer, "link", *empty)


def of_tomorrow(answer: Document) -> Document:
    return {**answer, "link": wire.LINK_VERSION + 1, "of_tomorrow": [{"a": 1}]}


async def put_policy(platform: ServingPlatform, place: LinkedPlace) -> None:
    resources, owner = platform.policy.resources, platform.owner
    made = await resources.create(
        owner,
        credential(
            "upstream",
            provider="openai-compatible",
            reference=place.reference,
            upstream=f"{place.upstream}/v1",
            environment="local",
        ),
    )
    await resources.create(owner, route(made.id, models=("*",)))
    await resources.create(owner, grant(models=("*",), purposes=(Purpose.DEVELOPMENT,)))
    await publish(platform.policy, owner)


@pytest.mark.parametrize("change", [of_yesterday, of_tomorrow])
def test_a_gateway_works_with_a_platform_one_version_apart(
    tmp_path: Path, change: Callable[[Document], Document]
) -> None:
    shims: list[AnswersOf] = []

    def wrap(app: Any) -> AnswersOf:  # noqa: ANN401 - ASGI
        shims.append(AnswersOf(app, change))
        return shims[0]

    with (
        hostile_upstream() as upstream,
        serving_platform(tmp_path / "platform", wrap=wrap) as platform,
    ):
        place = LinkedPlace(tmp_path / "place", platform.url, upstream.url)
        code = platform.do(lambda: platform.gateways.create_code(platform.owner, group="local"))
        assert place.enroll(code.text).returncode == 0
        platform.do(lambda: put_policy(platform, place))
        with place.running() as gateway:
            wait_for(lambda: gateway.control("policy.status")["version"])
            assert call(gateway, gateway.lease()) == (200, "")
            wait_for(
                lambda: (
                    platform.do(
                        lambda: platform.records.calls(platform.owner, CallFilter(), PageRequest())
                    ).items
                )
            )
    assert shims[0].changed > 3, "enrolment, polls and pushes went through it"


@pytest.mark.parametrize("written", [older, newer])
async def test_a_platform_works_with_a_gateway_one_version_apart(
    database: Database,
    clock: ManualClock,
    tmp_path: Path,
    written: Callable[[msgspec.Struct], Document],
) -> None:
    async with (
        services_for(database, clock, tmp_path) as services,
        client_of(server_of(services)) as api,
    ):
        acme = await tenant(services, "Acme")
        minted = await services.link.gateways.create_code(acme.owner, group="edge", lifetime=600)
        hand = GatewayHand(clock)

        async def ask(target: str, message: msgspec.Struct, kind: str = "json") -> Document:
            encode = msgspec.json.encode if kind == "json" else msgspec.msgpack.encode
            document = written(message)
            if kind == "msgpack":  # bytes are bytes there
                document |= {
                    name: getattr(message, name)
                    for name in ("records", "entries")
                    if name in document
                }
            signed = hand.sign(target, encode(document))
            answer = await api.post(
                target,
                content=signed.body,
                headers={
                    wire.GATEWAY_HEADER: signed.gateway_id,
                    wire.TIME_HEADER: signed.time,
                    wire.NONCE_HEADER: signed.nonce,
                    wire.SIGNATURE_HEADER: signed.signature,
                },
            )
            assert answer.status_code == httpx.codes.OK, answer.text
            return dict(answer.json())

        enrolled = await ask(wire.ENROLMENTS, hand.wish(minted.text, group="edge"))
        hand.gateway_id = enrolled["gateway_id"]
        await ask(wire.POLL, wire.PollRequest(software="1.2.3"))
        record = call_record(clock, acme, uuid7(clock))
        push = wire.CallRecordPush(
            spool_id="spool-1",
            start=wire.SpoolPosition(),
            end=wire.SpoolPosition(segment=1, offset=100),
            records=(msgspec.msgpack.encode(written(record) | {"id": record.id}),),
        )
        assert (await ask(wire.CALL_RECORDS, push, "msgpack"))["taken"] == 1
        entry = AuditEntry(
            id=uuid7(clock), sequence=1, at=clock.now(), action=AuditAction.LEASE_ISSUED,
            organization_id=acme.organization_id, principal="user:x",
        )  # fmt: skip
        entries = wire.AuditPush(entries=(msgspec.json.encode(written(entry)),))
        assert (await ask(wire.AUDIT_ENTRIES, entries, "msgpack"))["taken"] == 1
