"""How moments, places and previews are put into words."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from keylease.cli.incident_words import preview_csv, preview_lines
from keylease.cli.inventory_sync import vendor_of
from keylease.cli.inventory_words import (
    consumer_counts,
    consumer_words,
    minute,
    moment_of,
    place_words,
    stands_for_words,
    write_out,
)
from keylease.errors import SettingsInvalid
from keylease.strongroom.configuration import ConnectorSettings

NOW = 1_780_000_000_000_000
DAY = 86_400 * 1_000_000


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-05-04", "2026-05-04 00:00"),
        ("2026-05-04T06:12Z", "2026-05-04 06:12"),
        ("2026-05-04T06:12+02:00", "2026-05-04 04:12"),
    ],
)
def test_times_are_read(text: str, wanted: str) -> None:
    assert minute(moment_of(text, now=NOW)) == wanted


def test_durations_lie_behind_or_ahead() -> None:
    assert moment_of("30d", now=NOW) == NOW - 30 * DAY
    assert moment_of("30d", now=NOW, ahead=True) == NOW + 30 * DAY


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "30", "\x1b[31m"])
def test_what_is_no_time_is_said(text: str) -> None:
    with pytest.raises(SettingsInvalid):
        moment_of(text, now=NOW)


@pytest.mark.parametrize(
    ("system", "named", "vendor"),
    [("braintrust", "", "braintrust"), ("braintrust", "bt-eu", "bt-eu"), ("github", "", "")],
)
def test_a_vendor_has_the_name_it_was_given_or_that_of_its_system(
    system: str, named: str, vendor: str
) -> None:
    assert vendor_of(ConnectorSettings(name="x", system=system, vendor=named)) == vendor


def a_place(path: str, **more: object) -> dict[str, Any]:
    return {
        "location": {"path": path, "line": 3, "name": "KEY"},
        "source": "laptop:/app",
        "first_seen": NOW,
        "last_seen": NOW,
        "removed_at": None,
        **more,
    }


def a_consumer(known_by: str, **more: object) -> dict[str, Any]:
    return {
        "id": "code:1",
        "kind": "code",
        "name": "app/llm.py",
        "known_by": known_by,
        "evidence": "names KEY, as the value is called in the same repository",
        "ambiguous": False,
        "repository": "github.com/acme/app",
        "environment": "",
        "owner_candidates": ["@acme/assistants"],
        "first_seen": NOW,
        "last_seen": NOW,
        "removed_at": None,
        "principal": "",
        "purpose": "",
        "last_used": None,
        "calls": 0,
        **more,
    }


SEEN = a_consumer(
    "seen_using", kind="principal", principal="user:ada", last_used=NOW, calls=2, purpose="eval"
)


def a_preview(
    path: str = ".env", *, consumers: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    secret = {
        "id": "s",
        "provider": "openai",
        "kind": "project key",
        "masked": "sk-...a1b2",
        "owner": "",
        "live": None,
        "risk": 60,
        "believed_places": [
            {"place": a_place("github:acme/app"), "evidence": "names KEY", "ambiguous": True}
        ],
    }
    affected = {
        "secret": secret,
        "there": [a_place("braintrust:ai_secret")],
        "elsewhere": [a_place(path)],
        "evidence": "it is called KEY in both places",
        "consumers": [] if consumers is None else consumers,
        "can": ["make calls"],
        "rotation": {"minutes": 7, "minted_by_api": True, "places_to_change": 1},
    }
    return {
        "subject": {"kind": "vendor", "name": "braintrust", "since": None, "until": NOW},
        "made_at": NOW,
        "affected": [affected],
        "names_without_value": [a_place("braintrust:env_var")],
        "owners": [{"owner": "nobody", "secrets": 1, "minutes": 7}],
        "unknown": ["Whether it works was not checked."],
        "minutes": 7,
        "minutes_are": "planning values",
    }


def test_a_preview_says_everything_that_is_asked() -> None:
    text = "\n".join(preview_lines(a_preview()))
    for part in (
        "vendor braintrust",
        "1 secret of 1 owner, about 7 minutes",
        "between the beginning and",
        "believed",
        "there",
        "elsewhere   .env:3 (KEY) in laptop:/app",
        "used by     not known",
        "make calls",
        "7 minutes: a new key by program, 1 place to change",
        "nobody: 1 secret",
        "Not known:",
    ):
        assert part in text, part


def test_a_preview_says_how_each_consumer_is_known() -> None:
    holding = a_consumer("holds_value", kind="service", name="evals.service", repository="")
    unsure = a_consumer("named", ambiguous=True, environment="production")
    preview = a_preview(consumers=[SEEN, holding, unsure])
    text = "\n".join(preview_lines(preview))
    for part in (
        "used by     user:ada for eval: 2 calls, the last 2026-05-28",
        "held by     service evals.service: holds the value, since 2026-05-28",
        "named by    code app/llm.py of github.com/acme/app in production: ambiguous: names KEY",
        "perhaps in  github:acme/app:3 (KEY) in laptop:/app: ambiguous: names KEY",
    ):
        assert part in text, part
    assert "not known" not in text.partition("used by")[2].partition("\n")[0]
    row = next(csv.DictReader(io.StringIO(preview_csv(preview))))
    assert row["consumers"] == "user:ada"
    assert row["consumers_holding"].startswith("service evals.service")
    assert "ambiguous" in row["consumers_named"]


def test_a_name_says_what_it_may_stand_for() -> None:
    found = [{"secret_id": "a", "ambiguous": False}, {"secret_id": "b", "ambiguous": True}]
    assert stands_for_words(found) == "a, b?"


def test_consumers_are_counted_by_how_they_are_known() -> None:
    named = a_consumer("named")
    gone = a_consumer("named", removed_at=NOW)
    assert consumer_counts([SEEN, named, named, gone]) == "1 seen, 2 named"
    assert consumer_counts([gone]) == ""
    assert consumer_words(gone).endswith(
        "since 2026-05-28 until 2026-05-28; perhaps of @acme/assistants"
    )


def test_a_spreadsheet_takes_nothing_for_a_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(preview_csv(a_preview("=cmd()|'x'!A0")))))
    assert [row["where"] for row in rows] == ["there", "elsewhere", "there"]
    assert rows[1]["path"].startswith("'=cmd")


def test_a_place_that_is_gone_says_since_when() -> None:
    assert place_words(a_place("a.py", removed_at=NOW)).endswith("removed 2026-05-28")


def test_a_document_steers_no_terminal_and_is_whole_elsewhere(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    document = 'path,"a\x1b[2J\u009b1A"\r\nnext\r\n'.encode()
    write_out(document, None)
    assert capsysbinary.readouterr().out == document
    write_out(document, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == document
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    write_out(document, None)
    shown = capsysbinary.readouterr().out.decode()
    assert shown.splitlines() == ['path,"a?[2J?1A"', "next"]
