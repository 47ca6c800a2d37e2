"""What a project wants of its traces: versions, checks, and when it counts."""

from __future__ import annotations

import threading

import msgspec
import pytest

from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import InputInvalid, VersionChanged
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.traces import project_settings
from keylease.platform.traces.ingest.personal_data import (
    OwnRule,
    PersonalData,
    PersonalDataMasker,
    PersonalDataRules,
)
from keylease.platform.traces.project_settings import (
    DEFAULT_RETENTION_DAYS,
    InForce,
    TraceSettings,
    TraceSettingsService,
    Wishes,
)
from keylease.platform.traces.understanding.costs import PriceOverride

ORGANIZATION = "01a00000-0000-7000-8000-000000000001"
PROJECT = "01a00000-0000-7000-8000-000000000002"
ADA = Caller(
    principal=Principal(PrincipalKind.USER, "01a00000-0000-7000-8000-000000000003"),
    organization_id=ORGANIZATION,
)
OTHER = msgspec.structs.replace(ADA, organization_id="01a00000-0000-7000-8000-000000000009")
EMAILS = Wishes(
    retention_days=7,
    personal_data=PersonalDataRules(kinds=(PersonalData.EMAIL,)),
    prices=(PriceOverride(model="mine-*", input=1_000_000, output=2_000_000),),
)


async def test_a_change_is_read_back_and_counts_at_once(database: Database) -> None:
    service = TraceSettingsService(database)
    before = await service.get(ADA, PROJECT)
    assert (before.version, before.wishes.retention_days) == (0, DEFAULT_RETENTION_DAYS)
    changed = await service.change(ADA, PROJECT, EMAILS, expected=0)
    assert changed == await service.get(ADA, PROJECT)
    assert (changed.version, changed.changed_by) == (1, ADA.name)
    masker = service.in_force.rules(ORGANIZATION, PROJECT).personal_data
    assert masker is not None
    assert masker.masked("write to ada@example.com") == "write to [email]"
    prices = service.in_force.prices(ORGANIZATION, PROJECT)
    assert prices is not None
    assert prices.prices == EMAILS.prices
    assert service.in_force.retention_days(ORGANIZATION, PROJECT) == 7


async def test_another_servers_change_counts_when_it_is_read(database: Database) -> None:
    await TraceSettingsService(database).change(ADA, PROJECT, EMAILS, expected=0)
    here = TraceSettingsService(database)
    assert here.in_force.rules(ORGANIZATION, PROJECT).personal_data is None
    await here.read_again()
    assert here.in_force.rules(ORGANIZATION, PROJECT).personal_data is not None


async def test_who_read_an_older_version_is_told(database: Database) -> None:
    service = TraceSettingsService(database)
    await service.change(ADA, PROJECT, EMAILS, expected=0)
    with pytest.raises(VersionChanged):
        await service.change(ADA, PROJECT, Wishes(), expected=0)
    assert (await service.change(ADA, PROJECT, Wishes(), expected=1)).version == 2
    assert service.in_force.rules(ORGANIZATION, PROJECT).personal_data is None


async def test_another_organization_has_its_own(database: Database) -> None:
    service = TraceSettingsService(database)
    await service.change(ADA, PROJECT, EMAILS, expected=0)
    assert (await service.get(OTHER, PROJECT)).version == 0
    assert service.in_force.rules(OTHER.organization_id, PROJECT).personal_data is None


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(retention_days=0),
        Wishes(retention_days=99_999),
        Wishes(prices=(PriceOverride(model="", input=1, output=1),)),
        Wishes(prices=(PriceOverride(model="m", input=-1, output=1),)),
        Wishes(personal_data=PersonalDataRules(own=(OwnRule(name="x", expression="("),))),
    ],
)
async def test_what_cannot_be_is_refused(database: Database, wishes: Wishes) -> None:
    service = TraceSettingsService(database)
    with pytest.raises(InputInvalid):
        await service.change(ADA, PROJECT, wishes, expected=0)
    assert (await service.get(ADA, PROJECT)).version == 0


def test_an_older_version_never_replaces_a_newer_one() -> None:
    in_force = InForce()
    in_force.put("o", TraceSettings(project_id="p", wishes=EMAILS, version=2))
    in_force.put("o", TraceSettings(project_id="p", version=1))
    assert in_force.retention_days("o", "p") == 7


async def test_expressions_are_compiled_beside_the_event_loop(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def masker(rules: PersonalDataRules) -> PersonalDataMasker:
        threads.append(threading.current_thread())
        return PersonalDataMasker(rules)

    monkeypatch.setattr(project_settings, "PersonalDataMasker", masker)
    own = PersonalDataRules(own=(OwnRule(name="number", expression="KD-[0-9]{8}"),))
    one, other = TraceSettingsService(database), TraceSettingsService(database)
    await one.change(ADA, PROJECT, Wishes(personal_data=own), expected=0)
    await other.read_again()
    await other.read_again()
    assert len(threads) == 3
    assert threading.main_thread() not in threads
