"""A real gateway process and the real platform: from the code to the log, and what survives."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support import policy_kit
from tests.support.hostile_upstream import HostileUpstream, hostile_upstream
from tests.support.linked_gateway import LinkedPlace, call, wait_for
from tests.support.policy_kit import publish
from tests.support.ports import free_port
from tests.support.serving_platform import ServingPlatform, serving_platform

from keylease.contracts.policy import RevocationKind
from keylease.contracts.purposes import Purpose
from keylease.platform.audit.repository import Filter
from keylease.platform.db.paging import PageRequest
from keylease.platform.gateways.gateway import Gateway
from keylease.platform.records.calls import CallFilter, StoredCall, TotalsBy


@pytest.fixture
def upstream() -> Iterator[HostileUpstream]:
    with hostile_upstream() as server:
        yield server


def put_policy(platform: ServingPlatform, place: LinkedPlace) -> None:
    """A credential, a route and a grant, as an engineer publishes them."""

    async def write() -> None:
        made = await platform.policy.resources.create(
            platform.owner,
            policy_kit.credential(
                "upstream",
                provider="openai-compatible",
                reference=place.reference,
                upstream=f"{place.upstream}/v1",
                environment="local",
            ),
        )
        await platform.policy.resources.create(
            platform.owner, policy_kit.route(made.id, models=("*",))
        )
        await platform.policy.resources.create(
            platform.owner, policy_kit.grant(models=("*",), purposes=(Purpose.DEVELOPMENT,))
        )
        await publish(platform.policy, platform.owner)

    platform.do(write)


def code(platform: ServingPlatform, group: str = "local") -> str:
    return platform.do(lambda: platform.gateways.create_code(platform.owner, group=group)).text


def only_gateway(platform: ServingPlatform) -> Gateway:
    [found] = platform.do(
        lambda: platform.gateways.page(platform.owner, PageRequest(), group="")
    ).items
    return found


def in_force(platform: ServingPlatform) -> int:
    return only_gateway(platform).policy_version


def calls(platform: ServingPlatform) -> tuple[StoredCall, ...]:
    return platform.do(
        lambda: platform.records.calls(platform.owner, CallFilter(), PageRequest())
    ).items


def actions(platform: ServingPlatform, **wanted: Any) -> list[str]:  # noqa: ANN401 - parts of a filter
    audit = platform.services.audit
    assert audit is not None
    found = platform.do(
        lambda: audit.log.search(platform.owner, Filter(**wanted), PageRequest(limit=200))
    )
    return [json.loads(placed.entry)["action"] for placed in found.items]


def test_from_the_code_to_the_log(tmp_path: Path, upstream: HostileUpstream) -> None:
    with serving_platform(tmp_path / "platform") as platform:
        place = LinkedPlace(tmp_path / "place", platform.url, upstream.url)
        done = place.enroll(code(platform))
        assert done.returncode == 0, done.stderr
        with place.running(workers=2) as gateway:
            put_policy(platform, place)
            wait_for(lambda: in_force(platform) > 0)
            lease = gateway.control(
                "lease.create", purpose="development", environment="local", principal="user:ada"
            )
            assert call(gateway, lease["token"]) == (200, "")
            # 1. The call is at the platform, counted, under its organization.
            wait_for(lambda: calls(platform))
            [record] = calls(platform)
            assert record.record.lease_id == lease["lease_id"]
            assert record.gateway_id == only_gateway(platform).id
            totals = platform.do(
                lambda: platform.records.totals(platform.owner, TotalsBy.PRINCIPAL, CallFilter())
            )
            assert [(total.key, total.calls) for total in totals] == [("user:ada", 1)]
            # 2. So is what the gateway did, in the transparency log.
            wait_for(lambda: "lease.issued" in actions(platform, gateway_id=record.gateway_id))
            assert {"gateway.enrolled", "policy.published"} <= set(actions(platform))
            # 3. A revocation on the platform is in force here, shortly.
            began = time.monotonic()
            platform.do(
                lambda: platform.policy.revocations.revoke(
                    platform.owner, RevocationKind.LEASE, lease["lease_id"]
                )
            )
            wait_for(lambda: call(gateway, lease["token"]) == (401, "lease_revoked"))
            assert time.monotonic() - began < 20
            # 4. The gateway has witnessed the log.
            audit = platform.services.audit
            assert audit is not None
            wait_for(
                lambda: platform.do(lambda: audit.witnessing.state(platform.owner.organization_id)),
                seconds=60,
            )
            [witness] = platform.do(lambda: audit.witnessing.state(platform.owner.organization_id))
            assert witness.gateway_id == record.gateway_id
            assert gateway.control("status")["platform"]["witness_error"] == ""
            # 5. Put out of use, it serves nothing.
            fresh = gateway.lease(principal="user:ada")
            assert call(gateway, fresh) == (200, "")
            known = only_gateway(platform)
            platform.do(
                lambda: platform.gateways.revoke(platform.owner, known.id, expected=known.version)
            )
            wait_for(lambda: call(gateway, fresh)[0] == 503)
        stored = b"".join(
            path.read_bytes() for path in (tmp_path / "platform").rglob("*") if path.is_file()
        )
        for secret in (place.key, lease["token"].encode(), fresh.encode()):
            assert secret not in stored


def test_restarts_of_either_lose_nothing_and_count_nothing_twice(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    port = free_port()
    with serving_platform(tmp_path / "platform", port=port) as platform:
        place = LinkedPlace(tmp_path / "place", platform.url, upstream.url)
        assert place.enroll(code(platform)).returncode == 0
        put_policy(platform, place)
        with place.running() as gateway:
            wait_for(lambda: in_force(platform) > 0)
            assert call(gateway, gateway.lease(principal="user:ada")) == (200, "")
            wait_for(lambda: len(calls(platform)) == 1)
    # The platform is away: the gateway starts, serves and keeps.
    with place.running() as gateway:
        lease = gateway.lease(principal="user:ada")
        for _ in range(3):
            assert call(gateway, lease) == (200, "")
        # Durable shortly after each call; then the power goes.
        wait_for(lambda: len(gateway.control("calls.list")) == 4)
        gateway.stop(9)
    with serving_platform(tmp_path / "platform", port=port) as platform, place.running() as gateway:
        wait_for(lambda: len(calls(platform)) == 4)
        assert call(gateway, lease) == (200, "")
        wait_for(lambda: len(calls(platform)) == 5)
        totals = platform.do(
            lambda: platform.records.totals(platform.owner, TotalsBy.MODEL, CallFilter())
        )
        assert sum(total.calls for total in totals) == 5
        found = actions(platform)
        assert not [one for one in found if one.endswith(("gap_found", "restarted"))]
        assert found.count("gateway.started") == 3


def test_the_link_over_http_says_why_it_refuses(tmp_path: Path) -> None:
    with serving_platform(tmp_path / "platform") as platform:
        for path in (
            "enrolments",
            "poll",
            "call-records",
            "audit-entries",
            "cosignatures",
            "fingerprints",
        ):
            answer = httpx.post(
                f"{platform.url}/v1/link/{path}", content=b"{}", trust_env=False, timeout=30
            )
            assert answer.status_code in {400, 401}, path
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] in {"request_malformed", "gateway_not_proven"}
