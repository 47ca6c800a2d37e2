"""Formats, the baseline, problems and owners, without a scan."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from pathlib import Path

import msgspec
import pytest
from tests.support.planting import groq_key, openai_key, plant
from tests.support.scanning import look_at, only, surroundings

from keylease.contracts.findings import (
    Appearance,
    Confidence,
    Finding,
    Location,
    Mention,
    OwnerCandidate,
    PlaceKind,
    ReadProblem,
    ScanCounts,
    ScanReport,
)
from keylease.discovery.baseline import new_baseline, read_baseline, write_baseline
from keylease.discovery.formats.csv_format import COLUMNS, to_csv
from keylease.discovery.formats.sarif import to_sarif
from keylease.discovery.formats.table import lines, summary
from keylease.discovery.owners import CodeOwners
from keylease.discovery.problems import Problems
from keylease.errors import ScanInvalid, StorageError
from keylease.primitives.fingerprints import new_keys

SHOWN = "sk-proj-...abcd"


def report(**changes: object) -> ScanReport:
    location = Location(
        id="1" * 32,
        kind=PlaceKind.ENVIRONMENT_FILE,
        path="=cmd/.env",
        line=3,
        column=7,
        name="OPENAI_API_KEY",
        environment="production",
        owner_candidates=(OwnerCandidate("@team", "CODEOWNERS"),),
    )
    gone = Location(
        id="2" * 32,
        kind=PlaceKind.FILE,
        path="old.py",
        line=1,
        in_history_only=True,
        first=Appearance(commit="a" * 40, at=1_780_000_000_000_000, author="Ann", path="old.py"),
        removed=Appearance(commit="b" * 40, at=1_780_086_400_000_000, author="Ann", path="old.py"),
    )
    finding = Finding(
        id="x",
        provider="openai",
        kind="openai-project-key",
        confidence=Confidence.HIGH,
        reason="By its form.",
        masked=SHOWN,
        fingerprints=new_keys("acme").of(openai_key().encode()),
        locations=(location, gone),
    )
    whole = ScanReport(
        scanner="keylease 0",
        started_at=1_780_000_000_000_000,
        finished_at=1_780_000_002_500_000,
        host="h",
        roots=(".",),
        complete=True,
        counts=ScanCounts(files=5, bytes=2_000_000),
        findings=(finding, msgspec.structs.replace(finding, id="y", known=True)),
        mentions=(
            Mention(
                name="HF_TOKEN",
                provider="huggingface",
                reason="GitHub Actions secret",
                location=Location(
                    id="3" * 32, kind=PlaceKind.CI_CONFIGURATION, path="ci.yml", line=9
                ),
            ),
        ),
        problems=(ReadProblem(code="permission_denied", path="x", message="It may not be read."),),
    )
    return msgspec.structs.replace(whole, **changes)


def test_the_table_says_what_where_since_when_and_whom_to_ask() -> None:
    text = "\n".join(lines(report()))
    for part in (
        "openai-project-key  sk-proj-...abcd  2 places",
        "=cmd/.env:3:7  OPENAI_API_KEY, environment file, production",
        "old.py:1  in history only, added 2026-05-28 in aaaaaaaaaa, removed 2026-05-29 in bbbb",
        "ask: @team (CODEOWNERS)",
        "HF_TOKEN  huggingface\n    ci.yml:9  GitHub Actions secret",
    ):
        assert part in text, text
    assert summary(report()) == "1 secret (1 high confidence), 1 known in 5 files, 2.0 MB, 2.5 s"


def test_csv_has_a_line_for_each_place_and_no_formulas() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(report()))))
    assert [row["record"] for row in rows] == ["finding"] * 4 + ["mention"]
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["path"] == "'=cmd/.env"
    assert rows[1]["removed_at"] == "2026-05-29T20:26:40.000000Z"
    assert rows[4]["kind"] == "GitHub Actions secret"
    assert None not in rows[0].values()


def test_sarif_has_what_readers_ask_for() -> None:
    document = json.loads(json.dumps(to_sarif(report())))
    (run,) = document["runs"]
    assert document["version"] == "2.1.0"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["openai-project-key"]
    first, second, known, _ = run["results"]
    assert first["level"] == "error"
    location = first["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "%3Dcmd/.env"
    assert location["region"] == {"startLine": 3, "startColumn": 7}
    assert "in the history only" in second["message"]["text"]
    assert first["fingerprints"] == second["fingerprints"]
    assert "suppressions" in known
    assert "suppressions" not in first
    (told,) = run["invocations"][0]["toolExecutionNotifications"]
    assert told["descriptor"]["id"] == "permission_denied"


def test_a_baseline_knows_a_secret_wherever_it_goes(tmp_path: Path) -> None:
    key = openai_key()
    tree = plant(tmp_path / "r", {"a.py": f'K = "{key}"'})
    fresh = new_baseline()
    first = look_at(tree, given=surroundings(baseline=fresh))
    write_baseline(tmp_path / "baseline.json", fresh.of(first.findings))
    assert key not in (tmp_path / "baseline.json").read_text()

    plant(tree, {"a.py": "x", "moved.py": f'\nK = "{key}"', "new.py": f'K = "{groq_key()}"'})
    # Another machine has another fingerprint key; the baseline brings its own.
    known = read_baseline(tmp_path / "baseline.json")
    second = look_at(tree, given=surroundings(baseline=known))
    assert {f.provider: f.known for f in second.findings} == {"openai": True, "groq": False}


def test_a_guessable_secret_is_known_by_its_place(tmp_path: Path) -> None:
    tree = plant(tmp_path / "r", {"a.txt": "postgres://user:Sommer-2024@db.example.net/x\n"})
    fresh = new_baseline()
    first = look_at(tree, given=surroundings(baseline=fresh))
    (finding,) = first.findings
    assert finding.fingerprints == ()
    write_baseline(tmp_path / "b.json", fresh.of(first.findings))
    assert b"Sommer" not in (tmp_path / "b.json").read_bytes()
    again = look_at(tree, given=surroundings(baseline=read_baseline(tmp_path / "b.json")))
    assert again.findings[0].known
    plant(tree, {"b.txt": "postgres://user:Sommer-2024@db.example.net/x\n"})
    more = look_at(tree, given=surroundings(baseline=read_baseline(tmp_path / "b.json")))
    assert not more.findings[0].known


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{", b'{"key": "", "findings": []}', b'{"key": "%", "findings": []}',
        b'{"format": 9, "key": "' + b"A" * 43 + b'=", "findings": []}', b"[" * 9000,
    ],
    ids=range(7),
)  # fmt: skip
def test_what_is_no_baseline_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(ScanInvalid):
        read_baseline(tmp_path / "b")
    with pytest.raises(ScanInvalid):
        read_baseline(tmp_path / "none")
    with pytest.raises(StorageError):
        write_baseline(tmp_path / "none" / "b", b"")


def test_a_baseline_is_written_where_its_link_leads(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "known.json"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"old")
    elsewhere.chmod(0o640)
    link = tmp_path / "baseline.json"
    link.symlink_to(elsewhere)
    write_baseline(link, b"new")
    assert link.is_symlink()
    assert (elsewhere.read_bytes(), elsewhere.stat().st_mode & 0o777) == (b"new", 0o640)
    assert [file.name for file in elsewhere.parent.iterdir()] == ["known.json"]


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
def test_a_baseline_that_is_mounted_by_itself_is_written_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    baseline = tmp_path / "baseline.json"
    baseline.write_bytes(b"old")

    def as_a_mount_point(self: Path, _: Path) -> Path:
        raise OSError(number, "as the kernel says", str(self))

    monkeypatch.setattr(Path, "replace", as_a_mount_point)
    write_baseline(baseline, b"new")
    assert baseline.read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["baseline.json"]


def test_a_baseline_goes_into_a_pipe_and_takes_its_place_never(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_baseline(pipe, b"content")
        assert os.read(reader, 100) == b"content"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_problems_are_told_once_and_counted() -> None:
    problems = Problems()
    for number in range(3000):
        problems.add("permission_denied", f"/x/{number}", "It may not be read.")
        problems.add("vanished", "/same", "It has gone.")
    found = list(problems)
    assert len(found) == 1002
    assert {(p.path, p.count) for p in found if p.code == "vanished"} == {("/same", 3000)}
    rest = next(p for p in found if p.path == "")
    assert rest.count == 2000
    other = Problems()
    other.extend(found)
    assert next(p for p in other if p.path == "").count == 2000


def test_codeowners() -> None:
    owners = CodeOwners(
        "# all\n* @all\n[Section]\n^[Optional][2] @x\n*.js @js @js2 # note\n/build/logs/ @b\n"
        "docs/* @d\n/none\n"
    )

    def of(path: str) -> list[str]:
        return [candidate.owner for candidate in owners.owners(path)]

    assert of("a.txt") == ["@all"]
    assert of("x/y.js") == ["@js", "@js2"]
    assert of("build/logs/deep/a.js") == ["@b"]
    assert of("docs/a.md") == ["@d"]
    assert of("none/a.txt") == []


def test_a_report_is_read_back_as_it_was(tmp_path: Path) -> None:
    plant(tmp_path, {".env": f"OPENAI_API_KEY={openai_key()}\nHF_TOKEN=\n"})
    made = look_at(tmp_path)
    assert msgspec.json.decode(msgspec.json.encode(made), type=ScanReport) == made
    assert only(made).locations[0].path == ".env"
