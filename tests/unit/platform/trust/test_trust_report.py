from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock

from keylease.contracts.self_report import CredentialReport, MeasureReport, SelfReport, StoreReport
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.database import Database
from keylease.platform.trust.interfaces import (
    CredentialTrustFacts,
    GatewayTrust,
    TraceTrust,
    WitnessTrust,
)
from keylease.platform.trust.report import NOT_VERIFIED, StatusState, promise_results
from keylease.platform.trust.service import TrustService

ORGANIZATION = "018f0000-0000-7000-8000-0000000000aa"
CALLER = platform_itself(ORGANIZATION)


class World:
    """Every domain that the report asks, as a test wants it."""

    def __init__(self, clock: ManualClock) -> None:
        self.gateways = [
            GatewayTrust(id="g1", name="edge", last_seen=clock.now(), report=good(clock))
        ]
        self.credentials = [
            CredentialTrustFacts(id="c1", reference="vault://kv/a#k", overdue=False)
        ]
        self.witnesses = [WitnessTrust(name="edge", independent=True, failed=False)]
        self.log = "ok"
        self.traces = TraceTrust(store="the engine", state="ok")

    async def gateway_trust(self, caller: Caller) -> tuple[GatewayTrust, ...]:
        assert caller.organization_id == ORGANIZATION
        return tuple(self.gateways)

    async def credential_trust(self, caller: Caller) -> tuple[CredentialTrustFacts, ...]:
        assert caller.organization_id == ORGANIZATION
        return tuple(self.credentials)

    async def witness_trust(self, caller: Caller) -> tuple[WitnessTrust, ...]:
        assert caller.organization_id == ORGANIZATION
        return tuple(self.witnesses)

    async def log_state(self, organization_id: str) -> str:
        assert organization_id == ORGANIZATION
        return self.log

    def trace_trust(self, organization_id: str = "") -> TraceTrust:
        assert organization_id in {"", ORGANIZATION}
        return self.traces

    async def organization_ids(self) -> tuple[str, ...]:
        return (ORGANIZATION,)


def good(clock: ManualClock, **more: object) -> SelfReport:
    members: dict[str, object] = {
        "measures": (MeasureReport(name="own user", on=True, reason="uid 61141"),),
        "isolated": True,
        "stores": (StoreReport(scheme="vault", protector="OpenBao, by AppRole"),),
        "credentials": (CredentialReport(credential_id="c1", scheme="vault", available=True),),
        "maximum_secret_age_seconds": 300,
        "maximum_lease_seconds": 900,
        "signing_key_scheme": "sealed",
        **more,
    }
    return SelfReport(made_at=clock.now(), **members)  # type: ignore[arg-type]  # a test's own members


def service(
    database: Database,
    clock: ManualClock,
    world: World,
    *,
    file: Path | None = None,
    posture: str = "own user",
) -> TrustService:
    return TrustService(
        database,
        clock=clock,
        gateways=world,
        credentials=world,
        witnesses=world,
        organizations=world,
        traces=world,
        directory=Path("/srv/platform"),
        posture=posture,
        promises_file=file,
        api_key_days=90,
    )


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(clock)


async def test_a_provider_key_is_answered_with_all_five(
    database: Database, clock: ManualClock, world: World
) -> None:
    report = await service(database, clock, world).report(CALLER)
    (key,) = [one for one in report.secrets if one.kind == "provider key"]
    assert key.location == "vault://kv/a#k"
    assert key.protector == "OpenBao, by AppRole"
    assert "in memory only" in key.holder
    assert key.isolation == "own user"
    assert "300 s" in key.lifetime
    assert "audit entry" in key.audit
    assert report.weaknesses == ()


async def test_no_kind_of_secret_is_left_without_an_answer(
    database: Database, clock: ManualClock, world: World
) -> None:
    report = await service(database, clock, world).report(CALLER)
    kinds = {one.kind for one in report.secrets}
    assert {"provider key", "lease signing key", "policy signing key", "API keys"} <= kinds
    for one in report.secrets:
        assert all(
            (one.location, one.protector, one.holder, one.isolation, one.lifetime, one.audit)
        )


async def test_a_trace_store_elsewhere_is_told_with_what_is_held_for_it(
    database: Database, clock: ManualClock, world: World
) -> None:
    report = await service(database, clock, world).report(CALLER)
    kinds = {one.kind for one in report.secrets}
    assert report.trace_store == "the engine"
    assert not kinds & {"password of the trace store", "organization's fingerprint key"}
    world.traces = TraceTrust(
        store="ClickHouse server clickhouse://ada@db.example:8123/keylease",
        state="not reachable",
        unprotected=True,
        password_file="/etc/keylease/clickhouse",
        fingerprint_key="acme.2",
    )
    report = await service(database, clock, world).report(CALLER)
    found = {one.kind: one for one in report.secrets}
    assert "/etc/keylease/clickhouse" in found["password of the trace store"].location
    assert found["organization's fingerprint key"].subject == "acme.2"
    assert "in memory only" in found["organization's fingerprint key"].holder
    assert any("without TLS" in weakness.what for weakness in report.weaknesses)
    status = await service(database, clock, world).status()
    assert (status.state, status.trace_store) == (StatusState.DEGRADED, "not reachable")
    assert "the trace store is not reachable" in status.reasons


async def test_a_silent_gateway_is_never_taken_for_a_good_one(
    database: Database, clock: ManualClock, world: World
) -> None:
    world.gateways = [GatewayTrust(id="g1", name="edge", last_seen=None, report=None)]
    report = await service(database, clock, world).report(CALLER)
    assert any("not known" in one.isolation for one in report.secrets)
    assert len(report.weaknesses) == 2


@pytest.mark.parametrize(
    ("change", "state", "reason"),
    [
        ({"overdue": True}, StatusState.AT_RISK, "overdue"),
        ({"isolated": False}, StatusState.AT_RISK, "not isolated"),
        ({"witness_failed": True}, StatusState.AT_RISK, "refused"),
        ({"unavailable": True}, StatusState.DEGRADED, "stores"),
        ({"silent": True}, StatusState.DEGRADED, "heard"),
        ({"dependent": True}, StatusState.DEGRADED, "independent"),
        ({"log": True}, StatusState.DEGRADED, "audit log"),
        ({}, StatusState.OPERATIONAL, ""),
    ],
)
async def test_operational_never_hides_a_security_problem(
    database: Database,
    clock: ManualClock,
    world: World,
    change: dict[str, bool],
    state: StatusState,
    reason: str,
) -> None:
    if "overdue" in change:
        world.credentials = [CredentialTrustFacts(id="c1", reference="r", overdue=True)]
    if "witness_failed" in change:
        world.witnesses = [WitnessTrust(name="w", independent=True, failed=True)]
    if "dependent" in change:
        world.witnesses = [WitnessTrust(name="w", independent=False, failed=False)]
    if "log" in change:
        world.log = "not writable"
    said: dict[str, object] = {}
    if "isolated" in change:
        said["isolated"] = False
    if "unavailable" in change:
        said["credentials"] = (
            CredentialReport(credential_id="c1", scheme="vault", available=False, code="x"),
        )
    seen = clock.now() - 10**9 if "silent" in change else clock.now()
    world.gateways = [
        GatewayTrust(id="g1", name="edge", last_seen=seen, report=good(clock, **said))
    ]
    status = await service(database, clock, world).status()
    assert status.state is state
    assert reason in " ".join(status.reasons)
    assert "edge" not in " ".join(status.reasons)


async def test_a_platform_that_is_not_isolated_says_so(
    database: Database, clock: ManualClock, world: World
) -> None:
    made = service(database, clock, world, posture="nothing; WARNING zones not isolated")
    assert (await made.status()).state is StatusState.AT_RISK
    assert "zones not isolated" in (await made.report(CALLER)).weaknesses[0].what


async def test_promises_without_results_are_not_verified(
    database: Database, clock: ManualClock, world: World, tmp_path: Path
) -> None:
    for file in (None, tmp_path / "absent"):
        report = await service(database, clock, world, file=file).report(CALLER)
        assert {one.result for one in report.promises} == {NOT_VERIFIED}
        assert len(report.promises) == 9


def test_a_failed_promise_is_broken() -> None:
    document = json.dumps(
        {
            "format": 1,
            "commit": "abc",
            "at": "2026-01-01T00:00:00+00:00",
            "promises": {
                "P1": {"result": "kept", "passed": 3, "failed": 0, "skipped": 0},
                "P2": {"result": "not verified", "passed": 3, "failed": 1, "skipped": 0},
                "P4": {"result": "kept", "passed": 1, "commit": "def", "at": "2026-02-02"},
            },
        }
    ).encode()
    found = {one.id: one for one in promise_results(document)}
    results = [found[name].result for name in ("P1", "P2", "P3", "P4")]
    assert results == ["kept", "broken", NOT_VERIFIED, "kept"]
    assert (found["P1"].commit, found["P1"].at) == ("abc", "2026-01-01T00:00:00+00:00")
    assert (found["P4"].commit, found["P4"].at) == ("def", "2026-02-02"), "of a run of its own"


@pytest.mark.parametrize("document", [b"", b"{}", b"[]", b"\xff"])
def test_unreadable_results_verify_nothing(document: bytes) -> None:
    assert {one.result for one in promise_results(document)} == {NOT_VERIFIED}
