"""Entries of gateways: taken once, in order; what is missing is an alarm in the log itself."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.support.audit_kit import ORG, Rig, gateway_entry, logged
from tests.support.manual_clock import ManualClock

from keylease.contracts.audit import AuditAction
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import AuditLogUnavailable, StorageFull
from keylease.platform.audit.intake import AuditIntake
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.primitives.transparency import directory

GATEWAY = "018f0000-0000-7000-8000-00000000000a"
CALLER = Caller(principal=Principal(PrincipalKind.GATEWAY, GATEWAY), organization_id=ORG)


@pytest.fixture
def rig(database: Database, tmp_path: Path, clock: ManualClock) -> Rig:
    return Rig(database, tmp_path / "audit", clock)


@pytest.fixture
def intake(rig: Rig) -> AuditIntake:
    return AuditIntake(rig.database, rig.sequencer)


async def numbers(rig: Rig) -> list[int]:
    await rig.sequencer.drain()
    return [entry.sequence for entry in logged(rig) if entry.sequence]


async def alarms(rig: Rig) -> list[str]:
    await rig.sequencer.drain()
    return [entry.action for entry in logged(rig) if not entry.sequence]


async def test_a_batch_is_taken_in_order_under_the_proven_identity(
    rig: Rig, intake: AuditIntake
) -> None:
    batch = [gateway_entry(n, organization_id="somebody else's") for n in range(1, 6)]
    answer = await intake.accept(CALLER, GATEWAY, batch)
    assert (answer.sequence, answer.taken, answer.duplicates, answer.gap) == (5, 5, 0, False)
    assert await numbers(rig) == [1, 2, 3, 4, 5]
    assert {entry.gateway_id for entry in logged(rig)} == {GATEWAY}
    assert {entry.organization_id for entry in logged(rig)} == {ORG}
    rig.verify()


@pytest.mark.parametrize("sequenced", [True, False])
async def test_what_is_sent_again_is_not_logged_again(
    rig: Rig, intake: AuditIntake, *, sequenced: bool
) -> None:
    batch = [gateway_entry(n) for n in range(1, 6)]
    await intake.accept(CALLER, GATEWAY, batch[:4])
    if sequenced:
        await rig.sequencer.drain()
    answer = await intake.accept(CALLER, GATEWAY, batch)
    assert (answer.sequence, answer.taken, answer.duplicates) == (5, 1, 4)
    again = await intake.accept(CALLER, GATEWAY, batch)
    assert (again.sequence, again.taken, again.duplicates) == (5, 0, 5)
    assert await numbers(rig) == [1, 2, 3, 4, 5]
    assert await alarms(rig) == []


async def test_a_gap_is_an_alarm_and_a_late_entry_is_taken(rig: Rig, intake: AuditIntake) -> None:
    batch = {n: gateway_entry(n) for n in range(1, 8)}
    await intake.accept(CALLER, GATEWAY, [batch[1], batch[2]])
    answer = await intake.accept(CALLER, GATEWAY, [batch[6], batch[7]])
    assert answer.gap
    assert answer.sequence == 7
    assert await alarms(rig) == [AuditAction.GATEWAY_AUDIT_GAP_FOUND]
    found = next(entry for entry in logged(rig) if not entry.sequence)
    assert (found.object, found.details) == (GATEWAY, {"first": "3", "last": "5"})
    late = await intake.accept(CALLER, GATEWAY, [batch[4]])
    assert (late.sequence, late.taken) == (7, 1)
    assert await numbers(rig) == [1, 2, 6, 7, 4]
    assert (await intake.accept(CALLER, GATEWAY, [batch[4]])).duplicates == 1


async def test_a_gap_from_the_very_first_number_is_an_alarm(rig: Rig, intake: AuditIntake) -> None:
    assert (await intake.accept(CALLER, GATEWAY, [gateway_entry(4)])).gap
    assert await alarms(rig) == [AuditAction.GATEWAY_AUDIT_GAP_FOUND]


async def test_numbers_that_begin_again_are_an_alarm_and_nothing_is_lost(
    rig: Rig, intake: AuditIntake
) -> None:
    await intake.accept(CALLER, GATEWAY, [gateway_entry(n) for n in range(1, 4)])
    await rig.sequencer.drain()
    answer = await intake.accept(CALLER, GATEWAY, [gateway_entry(n) for n in range(1, 6)])
    assert (answer.sequence, answer.taken) == (5, 5)
    assert await numbers(rig) == [1, 2, 3, 1, 2, 3, 4, 5]
    assert await alarms(rig) == [AuditAction.GATEWAY_AUDIT_RESTARTED]


async def test_what_cannot_be_read_is_set_aside_and_noted(rig: Rig, intake: AuditIntake) -> None:
    secret = "sk-proj-" + "aB3" * 20
    batch = [
        gateway_entry(1),
        b"not json " + secret.encode(),
        b'{"sequence": 3}',
        gateway_entry(4),
    ]
    answer = await intake.accept(CALLER, GATEWAY, batch)
    assert (answer.taken, answer.set_aside, answer.gap) == (2, 2, False)
    assert await alarms(rig) == [AuditAction.GATEWAY_AUDIT_SET_ASIDE] * 2


async def test_a_newer_gateways_action_is_logged(rig: Rig, intake: AuditIntake) -> None:
    await intake.accept(CALLER, GATEWAY, [gateway_entry(1, action="lease.renewed_later")])
    await rig.sequencer.drain()
    assert logged(rig)[0].action == "lease.renewed_later"


async def test_a_secret_in_an_entry_is_masked(rig: Rig, intake: AuditIntake) -> None:
    secret = "sk-proj-" + "aB3" * 20
    raw = msgspec.json.decode(gateway_entry(1))
    raw |= {"object": secret, "principal": secret, "reason": secret, "details": {secret: secret}}
    await intake.accept(CALLER, GATEWAY, [msgspec.json.encode(raw)])
    await rig.sequencer.drain()
    size = rig.size()
    assert secret.encode() not in rig.files.reader(ORG).entries(0, size, size=size)[0]


async def test_nothing_is_acknowledged_while_the_log_cannot_be_written(
    rig: Rig, intake: AuditIntake, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    await intake.accept(CALLER, GATEWAY, [gateway_entry(1)])

    def full(*_: object) -> None:
        raise StorageFull("There is no space.")

    with monkeypatch.context() as patched:
        patched.setattr(directory, "_write_files", full)
        await rig.sequencer.round()
    with pytest.raises(AuditLogUnavailable):
        await intake.accept(CALLER, GATEWAY, [gateway_entry(2)])
    clock.advance(2)
    await rig.sequencer.drain()
    await intake.accept(CALLER, GATEWAY, [gateway_entry(2)])
    assert await numbers(rig) == [1, 2]
