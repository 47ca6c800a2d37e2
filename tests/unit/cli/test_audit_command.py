"""`keylease audit verify`: what it says of a directory and of an export, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.log_kit import ORIGIN, SignedLog, Tampering, signer
from tests.support.manual_clock import ManualClock

from keylease.cli.main import main
from keylease.primitives.transparency.notes import KeyKind
from keylease.primitives.transparency.witness import Witness


@pytest.fixture
def log(tmp_path: Path) -> SignedLog:
    found = SignedLog(tmp_path / "log")
    found.grow(300)
    return found


def test_without_a_checkpoint_from_elsewhere_it_says_so(
    log: SignedLog, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "verify", str(log.path), "--key", str(log.first_key)]) == 3
    assert "tail not proven" in capsys.readouterr().out


def test_with_a_witnessed_checkpoint_it_proves_the_tail(
    log: SignedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    witness = Witness(
        tmp_path / "witness", signer("gateway/one", KeyKind.COSIGNER), clock=ManualClock()
    )
    witness.introduce(log.first_key)
    witness.cosign(log.grow(10), old_size=0)
    note = tmp_path / "kept.checkpoint"
    note.write_bytes(witness.note(ORIGIN) or b"")
    pins = tmp_path / "pins"
    pins.write_text(f"# the log\n{log.first_key}\n\n")
    arguments = ["audit", "verify", str(log.path), "--key", str(pins), "--checkpoint", str(note)]
    assert main([*arguments, "--witness", str(witness.key), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["tail"].startswith("tail proven")
    assert report["outside_size"] == report["size"] == 310
    assert report["cosigned"] == [{"witness": "gateway/one", "at": 1_780_000_000}]
    assert main(arguments) == 0
    assert "8. Tail: tail proven" in capsys.readouterr().out


def test_it_says_where_the_first_fault_is(
    log: SignedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Tampering(log, tmp_path / "copy")
    copy.bundle(1, lambda entries: entries.__setitem__(7, b"{}"))
    assert main(["audit", "verify", str(copy.path), "--key", str(log.first_key)]) == 1
    said = capsys.readouterr().err
    assert "first entry that is not proven: 263" in said
    assert "fault at step 4, tile/entries/001.p/44" in said


def test_an_export_is_verified_from_a_file(
    log: SignedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit.ndjson"
    file.write_bytes(log.export())
    assert main(["audit", "verify", str(file), "--key", str(log.first_key), "--secrets"]) == 3
    file.write_bytes(log.export([3, 270]))
    assert main(["audit", "verify", str(file), "--key", str(log.first_key)]) == 3
    assert "a part of the log: 2 entries" in capsys.readouterr().out
    file.write_bytes(file.read_bytes()[:-1000])
    assert main(["audit", "verify", str(file), "--key", str(log.first_key)]) == 1


def test_a_secret_in_an_entry_is_found_when_asked_for(
    log: SignedLog, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "sk-proj-" + "aB3" * 20
    log.grow(3, make=lambda n: b'{"object":"%b-%d"}' % (secret.encode(), n))
    assert main(["audit", "verify", str(log.path), "--key", str(log.first_key), "--secrets"]) == 1
    said = capsys.readouterr().err
    assert "Entry 300 contains what looks like a secret" in said
    assert secret not in said


@pytest.mark.parametrize("what", ["nothing", "folder", "key"])
def test_what_is_missing_is_said(log: SignedLog, tmp_path: Path, what: str) -> None:
    (tmp_path / "folder").mkdir()
    target = log.path if what == "key" else tmp_path / what
    key = str(tmp_path / "no-key") if what == "key" else str(log.first_key)
    assert main(["audit", "verify", str(target), "--key", key]) == 64
