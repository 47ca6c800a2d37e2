"""What of a scan is handed over, and how verdicts are told in every form of a report."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # ships no types
import msgspec
import pytest
from tests.support.planting import Repo, groq_key, openai_key, plant
from tests.support.scanning import look_at, only, surroundings

from keylease.cli.scan import FOUND_STATUS, FailOn, status_of
from keylease.cli.scan_verification import check_verify
from keylease.contracts.findings import Belonging, Liveness, ScanReport
from keylease.contracts.verification import Question, QuestionFrames, Verdict
from keylease.discovery.formats.csv_format import to_csv
from keylease.discovery.formats.sarif import to_sarif
from keylease.discovery.formats.schemas import schemas
from keylease.discovery.formats.table import lines
from keylease.discovery.verifying import HandOver
from keylease.errors import ScanInvalid


class Listening:
    """Takes what is handed over; gives everybody the same verdict."""

    def __init__(self, verdict: Verdict | None = None) -> None:
        self._reading, writing = os.pipe()
        self.hand_over = HandOver(writing)
        self.verdict = verdict
        self.questions: list[Question] = []
        self.ended = 0

    def verdicts(self) -> Mapping[bytes, Verdict]:
        self.hand_over.close()
        with os.fdopen(self._reading, "rb") as pipe:
            self.questions = QuestionFrames().feed(pipe.read())
        return {one.digest: self.verdict for one in self.questions if self.verdict}

    def abandon(self) -> None:
        self.hand_over.close()
        self.ended += 1


LIVE = Verdict(
    liveness=Liveness.LIVE,
    reason="It is accepted.",
    at=1_780_000_000_000_000,
    belongs_to=Belonging(account="ci", organization="acme", scopes=("repo", "workflow")),
)


def verified(folder: Path, verdict: Verdict | None = LIVE, **wanted: bool) -> ScanReport:
    verifier = Listening(verdict)
    report = look_at(folder, given=surroundings(verifier=verifier), **wanted)
    assert verifier.ended
    return report


def test_a_sure_key_is_handed_over_once_and_nothing_else_is(tmp_path: Path) -> None:
    key = openai_key()
    plant(
        tmp_path,
        {
            "a.py": f"k = '{key}'\n",
            "b.env": f"OPENAI_API_KEY={key}\n",
            "c.txt": "OPENAI_API_KEY=sk-" + "proj-your-key-here\npassword = hunter2\n",
        },
    )
    verifier = Listening(LIVE)
    report = look_at(tmp_path, given=surroundings(verifier=verifier))
    assert [one.secret for one in verifier.questions] == [key.encode()]
    finding = only(report)
    assert (finding.liveness, finding.liveness_at) == (Liveness.LIVE, LIVE.at)
    assert finding.belongs_to == LIVE.belongs_to
    for other in report.findings:
        assert other.liveness is Liveness.LIVE or other.liveness_reason


def test_what_a_commit_takes_out_is_not_asked_about(tmp_path: Path) -> None:
    old, new = openai_key(), groq_key()
    repo = Repo(tmp_path / "repo")
    repo.commit({"a.py": f"k = '{old}'\n"})
    plant(repo.folder, {"a.py": f"n = '{new}'\n"})
    repo.git("add", "-A")
    verifier = Listening()
    report = look_at(repo.folder, given=surroundings(verifier=verifier), staged=True)
    assert [one.secret for one in verifier.questions] == [new.encode()]
    assert only(report).liveness is Liveness.UNKNOWN
    assert "not come to its end" in only(report).liveness_reason


def test_a_reader_that_is_gone_does_not_end_the_scan(tmp_path: Path) -> None:
    plant(tmp_path, {f"{n}.py": f"k = '{openai_key()}'\n" for n in range(3)})
    verifier = Listening()
    os.close(verifier._reading)
    verifier.verdicts = dict  # type: ignore[method-assign]  # it gives nothing
    report = look_at(tmp_path, given=surroundings(verifier=verifier))
    assert len(report.findings) == 3


def test_ctrl_c_while_waiting_keeps_what_was_found(tmp_path: Path) -> None:
    def interrupted() -> Mapping[bytes, Verdict]:
        raise KeyboardInterrupt

    plant(tmp_path, {"a.py": f"k = '{openai_key()}'\n"})
    verifier = Listening()
    verifier.verdicts = interrupted  # type: ignore[method-assign]  # as Ctrl-C makes it
    report = look_at(tmp_path, given=surroundings(verifier=verifier))
    assert report.interrupted
    assert only(report).liveness is Liveness.UNKNOWN
    assert verifier.ended


def test_every_form_of_the_report_tells_it(tmp_path: Path) -> None:
    plant(tmp_path, {"a.py": f"k = '{openai_key()}'\n"})
    report = verified(tmp_path)
    text = "\n".join(lines(report))
    assert "LIVE" in text
    assert "account ci, organization acme, scopes repo workflow" in text
    (row,) = csv.DictReader(io.StringIO(to_csv(report)))
    assert (row["liveness"], row["liveness_reason"]) == ("live", "It is accepted.")
    assert row["belongs_to"].startswith("account ci")
    jsonschema.validate(row, schemas()["scan-csv.schema.json"])
    (result,) = to_sarif(report)["runs"][0]["results"]
    assert result["properties"]["liveness"] == "live"
    assert "live: It is accepted." in result["message"]["text"]
    document = json.loads(msgspec.json.encode(report))
    jsonschema.validate(document, schemas()["scan-report.schema.json"])
    assert document["findings"][0]["belongs_to"]["scopes"] == ["repo", "workflow"]


def test_a_key_in_what_a_provider_says_is_masked(tmp_path: Path) -> None:
    said = Verdict(liveness=Liveness.DEAD, reason="x", belongs_to=Belonging(account=openai_key()))
    plant(tmp_path, {"a.py": f"k = '{groq_key()}'\n"})
    found = only(verified(tmp_path, said)).belongs_to
    assert found is not None
    assert said.belongs_to is not None
    assert found.account != said.belongs_to.account


@pytest.mark.parametrize(
    ("liveness", "status"), [(Liveness.LIVE, FOUND_STATUS), (Liveness.DEAD, 0), (None, 0)]
)
def test_fail_on_live(tmp_path: Path, liveness: Liveness | None, status: int) -> None:
    plant(tmp_path, {"a.py": f"k = '{openai_key()}'\n"})
    verdict = Verdict(liveness=liveness, reason="x") if liveness else None
    assert status_of(verified(tmp_path, verdict), FailOn.LIVE) == status


def test_without_verification_nothing_is_said_about_it(tmp_path: Path) -> None:
    plant(tmp_path, {"a.py": f"k = '{openai_key()}'\n"})
    report = look_at(tmp_path)
    assert only(report).liveness is None
    assert b"liveness" not in msgspec.json.encode(report)
    assert "verified" not in "\n".join(lines(report))


def test_ci_needs_a_word_of_its_own() -> None:
    for value in ("true", "1", "yes"):
        with pytest.raises(ScanInvalid, match="CI"):
            check_verify(in_ci=False, environment={"CI": value})
        check_verify(in_ci=True, environment={"CI": value})
    for value in ("", "false", "0"):
        check_verify(in_ci=False, environment={"CI": value})
    check_verify(in_ci=False, environment={})
