"""What gateways report of the secrets they fetch, and what the inventory makes of it."""

from __future__ import annotations

import pytest
from tests.support.inventory_kit import (
    ADA,
    ORGANIZATION,
    STRANGER,
    Declared,
    finding,
    fingerprint,
    place,
    report,
)
from tests.support.manual_clock import ManualClock

from keylease.contracts import platform_link as wire
from keylease.contracts.findings import Fingerprint
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.errors import RequestMalformed
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.inventory.interfaces import CredentialUse
from keylease.platform.inventory.preview import IncidentPreviews, Subject, SubjectKind
from keylease.platform.inventory.records import Sighting
from keylease.platform.inventory.reported import MOST_FOR_A_CREDENTIAL, ReportedFingerprints
from keylease.platform.inventory.repository import Wanted
from keylease.platform.inventory.service import InventoryService
from keylease.platform.inventory.states import CredentialFacts

OPENAI = "018f0000-0000-7000-8000-0000000000c1"
SAME_KEY = "018f0000-0000-7000-8000-0000000000c2"
GATEWAY_ID = "018f0000-0000-7000-8000-0000000000d1"
GATEWAY = Caller(
    principal=Principal(kind=PrincipalKind.WORKLOAD, id="gateway-one"),
    organization_id=ORGANIZATION,
)
SERVED = frozenset({OPENAI, SAME_KEY})


class Place:
    """An inventory with two credentials and a gateway that reports."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.clock = clock
        self.told = 0
        self.declared = Declared()
        for number, name in ((OPENAI, "openai"), (SAME_KEY, "openai-eval")):
            self.declared.credentials[number] = CredentialFacts(id=number, name=name)
            self.declared.used.append(
                CredentialUse(
                    credential_id=number,
                    principal=f"workload:{name}-job",
                    first_used=1,
                    last_used=2,
                    calls=3,
                )
            )
        self.inventory = InventoryService(
            database, credentials=self.declared, uses=self.declared, when_changed=lambda: None
        )
        self.previews = IncidentPreviews(
            database, self.inventory, credentials=self.declared, uses=self.declared
        )
        self.reported = ReportedFingerprints(database, when_changed=self._changed)

    def _changed(self) -> None:
        self.told += 1

    async def say(
        self,
        *marks: Fingerprint,
        credential: str = OPENAI,
        version: str = "v1",
        caller: Caller = GATEWAY,
        served: frozenset[str] = SERVED,
    ) -> wire.PushAnswer:
        one = wire.SecretFingerprints(credential_id=credential, version=version, fingerprints=marks)
        push = wire.FingerprintPush(secrets=(one,))
        return await self.reported.accept(caller, GATEWAY_ID, push, served=served)

    async def scan(self, *marks: Fingerprint, path: str = "a.py") -> None:
        self.clock.advance(1)
        found = finding(*marks, at=[place(path)])
        await self.inventory.push(ADA, report(found, started_at=self.clock.now(), root=path))

    async def seen(self) -> tuple[Sighting, ...]:
        return await self.inventory.all(ADA, Wanted())


@pytest.fixture
def kit(database: Database, clock: ManualClock) -> Place:
    return Place(database, clock)


@pytest.mark.parametrize("scanned_first", [True, False])
async def test_what_a_scan_finds_is_the_credential_that_a_gateway_fetched(
    kit: Place,
    scanned_first: bool,  # noqa: FBT001 - a case
) -> None:
    if scanned_first:
        await kit.scan(fingerprint(1))
        (only,) = await kit.seen()
        assert (only.credential, only.consumers) == (None, ())
    assert (await kit.say(fingerprint(1))).taken == 1
    if not scanned_first:
        assert await kit.seen() == ()  # what nobody found is nowhere to be shown
        await kit.scan(fingerprint(1))
    (only,) = await kit.seen()
    assert only.credential is not None
    assert only.credential.name == "openai"
    assert [use.principal for use in only.consumers] == ["workload:openai-job"]
    (said,) = only.reported
    assert (said.name, said.credential_version, said.gateway_id) == ("openai", "v1", GATEWAY_ID)
    (change,) = [
        line
        for line in (await kit.inventory.history(ADA, PageRequest())).items
        if line.what == "credential_set"
    ]
    assert change.details == {"credential_id": OPENAI, "evidence": "fingerprint"}
    assert change.by == (GATEWAY if scanned_first else ADA).name


async def test_one_key_under_two_names_has_the_consumers_of_both(kit: Place) -> None:
    await kit.scan(fingerprint(1))
    await kit.say(fingerprint(1))
    kit.clock.advance(5)
    await kit.say(fingerprint(1), credential=SAME_KEY)
    (only,) = await kit.seen()
    assert only.credential is not None
    assert only.credential.name == "openai"
    assert [one.name for one in only.reported] == ["openai", "openai-eval"]
    for name in ("openai", "openai-eval"):
        subject = Subject(kind=SubjectKind.CREDENTIAL, name=name)
        (affected,) = (await kit.previews.preview(ADA, subject)).affected
        assert {use.principal for use in affected.consumers} == {
            "workload:openai-job",
            "workload:openai-eval-job",
        }
    subject = Subject(kind=SubjectKind.PRINCIPAL, name="workload:openai-eval-job")
    assert len((await kit.previews.preview(ADA, subject)).affected) == 1


async def test_either_fingerprint_links_while_the_key_is_rotated(kit: Place) -> None:
    await kit.scan(fingerprint(1))
    await kit.say(fingerprint(9, version=2), fingerprint(1))
    (only,) = await kit.seen()
    assert only.credential is not None


async def test_what_a_person_said_stays(kit: Place) -> None:
    await kit.scan(fingerprint(1))
    (only,) = await kit.seen()
    await kit.inventory.describe(ADA, only.id, expected=only.version, credential_id=SAME_KEY)
    await kit.say(fingerprint(1))
    (only,) = await kit.seen()
    assert only.credential is not None
    assert only.credential.name == "openai-eval"
    assert [one.name for one in only.reported] == ["openai"]
    assert kit.told == 0


async def test_the_same_report_again_changes_nothing(kit: Place) -> None:
    await kit.scan(fingerprint(1))
    await kit.say(fingerprint(1))
    before = await kit.seen()
    kit.clock.advance(60)
    await kit.say(fingerprint(1), version="v1")
    (after,) = await kit.seen()
    assert after.version == before[0].version
    assert after.reported[0].first_reported < after.reported[0].last_reported
    assert kit.told == 1


async def test_a_gateway_knows_nothing_of_another_groups_credentials(kit: Place) -> None:
    await kit.scan(fingerprint(1))
    answer = await kit.say(fingerprint(1), served=frozenset({SAME_KEY}))
    assert (answer.taken, answer.set_aside) == (0, 1)
    (only,) = await kit.seen()
    assert (only.credential, only.reported) == (None, ())


async def test_another_organizations_fingerprints_are_never_compared(kit: Place) -> None:
    await kit.scan(fingerprint(1))
    await kit.say(fingerprint(1), caller=STRANGER)
    (only,) = await kit.seen()
    assert (only.credential, only.reported) == (None, ())


@pytest.mark.parametrize(
    "marks",
    [
        (),
        (fingerprint(1), fingerprint(2), fingerprint(3)),
        (Fingerprint("acme", 0, "0" * 64),),
        (Fingerprint("acme", 2**63, "0" * 64),),
        (Fingerprint("ACME x", 1, "0" * 64),),
        (Fingerprint("acme", 1, "0" * 63 + "g"),),
        (Fingerprint("acme", 1, "sk-" + "0" * 61),),
    ],
)
async def test_what_is_no_fingerprint_is_refused_whole(
    kit: Place, marks: tuple[Fingerprint, ...]
) -> None:
    with pytest.raises(RequestMalformed):
        await kit.say(*marks)


@pytest.mark.parametrize("version", ["x" * 201, "a\nb", "a\0b"])
async def test_a_version_is_a_short_plain_text(kit: Place, version: str) -> None:
    with pytest.raises(RequestMalformed):
        await kit.say(fingerprint(1), version=version)


async def test_a_report_and_what_is_kept_of_a_credential_have_an_end(kit: Place) -> None:
    one = wire.SecretFingerprints(credential_id=OPENAI, version="v", fingerprints=(fingerprint(1),))
    push = wire.FingerprintPush(secrets=(one,) * (wire.MAXIMUM_FINGERPRINTED + 1))
    with pytest.raises(RequestMalformed):
        await kit.reported.accept(GATEWAY, GATEWAY_ID, push, served=SERVED)
    await kit.scan(fingerprint(0))
    await kit.say(fingerprint(0))
    kit.clock.advance(1)
    many = tuple(
        wire.SecretFingerprints(
            credential_id=OPENAI, version="v", fingerprints=(fingerprint(number),)
        )
        for number in range(1, MOST_FOR_A_CREDENTIAL + 1)
    )
    await kit.reported.accept(
        GATEWAY, GATEWAY_ID, wire.FingerprintPush(secrets=many), served=SERVED
    )
    (only,) = await kit.seen()
    assert only.reported == ()  # the oldest made room; the link it made stays
    assert only.credential is not None
