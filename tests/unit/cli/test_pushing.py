"""The parts of a pushed report, and what is sent again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec
import pytest
from tests.support.inventory_kit import finding, fingerprint, place, report

from keylease.cli.platform_connection import Answer, PlatformConnection
from keylease.cli.pushing import Pushed, parts_of, push
from keylease.contracts.findings import Mention, PlaceKind, ReadProblem, ScanReport
from keylease.errors import ApiProblem, ServerUnreachable

NONE = {"new_secrets": 0, "new_locations": 0, "seen_again": 0, "removed": 0, "merged": 0}


class Platform:
    """Takes what is sent; fails first as often as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.taken: list[tuple[bool, ScanReport]] = []
        self.waited: list[float] = []

    def ask(
        self, method: str, path: str, *, query: Mapping[str, object], body: ScanReport
    ) -> Answer:
        assert (method, path) == ("POST", "/v1/inventory/scans")
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append((query["more"] == "true", body))
        return Answer(201, {**NONE, "seen_at": body.started_at - 7, "new_secrets": 1}, "")


def pushed(platform: Platform, scan: ScanReport) -> Pushed:
    return push(cast("PlatformConnection", platform), scan, sleep=platform.waited.append)


def large() -> ScanReport:
    mention = Mention(
        name="X",
        provider="openai",
        reason="r",
        location=place("ci.yml", kind=PlaceKind.CI_CONFIGURATION),
    )
    many = [place(f"{number}.py") for number in range(2500)]
    scan = report(
        finding(fingerprint(1), at=many),
        *(finding(fingerprint(number), at=[place("a.py")]) for number in range(2, 9)),
        finding(at=many),
        started_at=1000,
        mentions=[mention],
    )
    problem = ReadProblem(code="unreadable", path="x", message="m")
    return msgspec.structs.replace(scan, problems=(problem,))


def test_parts_say_together_what_the_report_says() -> None:
    scan = large()
    parts = parts_of(scan, maximum=50_000)
    assert len(parts) > 3
    places = [
        (one.fingerprints, at.path)
        for part in parts
        for one in part.findings
        for at in one.locations
    ]
    assert places == [(one.fingerprints, at.path) for one in scan.findings for at in one.locations]
    assert [one for part in parts for one in part.mentions] == list(scan.mentions)
    assert [one for part in parts for one in part.problems] == list(scan.problems)
    assert all(part.complete for part in parts)


def test_a_secret_that_has_no_fingerprint_is_never_parted() -> None:
    parts = parts_of(large(), maximum=1000)
    assert sum(not one.fingerprints for part in parts for one in part.findings) == 1


def test_an_empty_report_is_sent_too() -> None:
    platform = Platform()
    assert pushed(platform, report(started_at=1000)).parts == 1
    assert [more for more, _ in platform.taken] == [False]


def test_only_the_last_part_is_the_last_and_all_begin_when_the_platform_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan = large()
    monkeypatch.setattr("keylease.cli.pushing.parts_of", lambda _: parts_of(scan, maximum=50_000))
    platform = Platform()
    total = pushed(platform, scan)
    assert [more for more, _ in platform.taken] == [True] * (total.parts - 1) + [False]
    assert [part.started_at for _, part in platform.taken[:3]] == [1000, 993, 986]
    assert total.new_secrets == total.parts


@pytest.mark.parametrize(
    "failure",
    [ServerUnreachable("gone"), ApiProblem("busy", status=503, reason="database_unavailable")],
)
def test_what_may_pass_is_tried_again_and_then_said(failure: Exception) -> None:
    platform = Platform(failure, failure)
    assert pushed(platform, report(started_at=1000)).parts == 1
    assert platform.waited == [1.0, 2.0]
    platform = Platform(*[failure] * 5)
    with pytest.raises(type(failure)):
        pushed(platform, report(started_at=1000))
    assert len(platform.waited) == 4


def test_a_refusal_is_not_repeated() -> None:
    platform = Platform(ApiProblem("no", status=403, reason="permission_denied"))
    with pytest.raises(ApiProblem):
        pushed(platform, report(started_at=1000))
    assert platform.waited == []
