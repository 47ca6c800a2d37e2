"""Scans of trees: grouping, bad input, workers, and what a report may hold."""

from __future__ import annotations

import gzip
import io
import json
import os
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.planting import anthropic_key, characters, groq_key, openai_key, plant
from tests.support.scanning import codes, look_at, paths, place, surroundings

from keylease.contracts.findings import PlaceKind
from keylease.detectors.scanning import Scanner
from keylease.discovery import pieces, work, workers
from keylease.discovery.reading import Reader
from keylease.discovery.scan import Progress, Wanted, scan
from keylease.errors import ScanInvalid
from keylease.primitives.fingerprints import new_keys


def test_the_same_secret_in_many_places_is_one_finding(tmp_path: Path) -> None:
    key = openai_key()
    notebook = {"cells": [{"cell_type": "code", "source": [f'k = "{key}"\n'], "outputs": []}]}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner/config.py", f"KEY = '{key}'")
    plant(
        tmp_path,
        {
            ".env": f"OPENAI_API_KEY={key}\n",
            "a.py": f'OpenAI(api_key="{key}")\n' * 2,
            "n.ipynb": json.dumps(notebook),
            "dist/x.whl": packed.getvalue(),
            "log.gz": gzip.compress(f"token {key}\n".encode()),
            "wide.ps1": f'$env:KEY = "{key}"'.encode("utf-16"),
            "other.py": f'K = "{groq_key()}"',
        },
    )
    report = look_at(tmp_path)
    assert len(report.findings) == 2
    finding = next(f for f in report.findings if f.provider == "openai")
    assert [(loc.path, loc.line) for loc in finding.locations] == [
        (".env", 1), ("a.py", 1), ("a.py", 2), ("dist/x.whl!/inner/config.py", 1), ("log.gz", 1),
        ("n.ipynb", 1), ("wide.ps1", 1),
    ]  # fmt: skip
    assert len({loc.id for loc in finding.locations}) == 7
    assert finding.fingerprints
    assert report.complete
    assert report.counts.archive_members == 2


def test_locations_keep_their_identity_when_lines_move(tmp_path: Path) -> None:
    key, given = openai_key(), surroundings()
    plant(tmp_path, {"a.py": f'K = "{key}"\n'})
    before = place(look_at(tmp_path, given=given))
    plant(tmp_path, {"a.py": f'# x\n\nK = "{key}"\n'})
    after = place(look_at(tmp_path, given=given))
    assert (before.line, after.line) == (1, 3)
    assert before.id == after.id


def test_a_key_in_a_name_is_found_and_masked_wherever_it_stands(tmp_path: Path) -> None:
    key, other = openai_key(), groq_key()
    plant(tmp_path, {f"{other}/{key}.txt": f'"{key}": "{anthropic_key()}"\n{key} = 1'})
    report = look_at(tmp_path)
    assert {f.provider for f in report.findings} == {"openai", "groq", "anthropic"}
    kinds = {loc.kind for f in report.findings for loc in f.locations}
    assert PlaceKind.FILE_NAME in kinds
    text = repr(report)
    for secret in (key, other):
        assert secret not in text
        assert secret[12:40] not in text


def test_names_that_are_no_text_are_read_and_shown(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9 \x1b[31m.env"
    with open(name, "wb") as file:  # noqa: PTH123 - a name of bytes
        file.write(f"OPENAI_API_KEY={openai_key()}".encode())
    report = look_at(tmp_path)
    assert place(report).path == "caf\ufffd \x1b[31m.env"
    json.dumps(place(report).path).encode()


def test_a_root_that_is_a_file_or_a_link_is_read(tmp_path: Path) -> None:
    plant(tmp_path, {"real.txt": f"OPENAI_API_KEY={openai_key()}"})
    (tmp_path / "link.txt").symlink_to("real.txt")
    assert look_at(tmp_path / "link.txt").counts.files == 1
    assert paths(look_at(tmp_path / "real.txt")) == {"."}
    with pytest.raises(ScanInvalid):
        look_at(tmp_path / "none")


def test_files_that_change_or_vanish_are_noted_once(tmp_path: Path) -> None:
    plant(tmp_path, {f"{n}.txt": "x" for n in range(5)} | {"9.txt": f"K_KEY={openai_key()}"})
    jobs = [work.FileJob((os.fsencode(tmp_path / f"{n}.txt"),)) for n in (1, 2, 9, 1)]
    (tmp_path / "1.txt").unlink()
    (tmp_path / "2.txt").unlink()
    (tmp_path / "2.txt").mkdir()
    equipment = work.Equipment(Scanner(), new_keys("test"), b"k" * 32, None)
    found = list(workers.work_through(jobs, equipment, processes=1))
    problems = [problem.code for result in found for problem in result.problems]
    assert problems == ["vanished", "vanished"]
    assert sum(len(result.sightings) for result in found) == 1


@pytest.mark.parametrize("processes", [1, 3])
def test_several_processes_find_the_same(tmp_path: Path, processes: int) -> None:
    keys = [openai_key() for _ in range(7)]
    plant(
        tmp_path,
        {
            f"{n % 20}/{n}.py": f'K = "{keys[n % 7]}"' if n % 50 == 0 else "x = 1\n"
            for n in range(700)
        },
    )
    report = look_at(tmp_path, given=surroundings(processes=processes))
    assert report.counts.files == 700
    assert len(report.findings) == 7
    assert sum(len(f.locations) for f in report.findings) == 14
    assert report.complete


def test_a_process_that_dies_costs_the_file_it_died_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, {f"{n:03}.txt": "x\n" for n in range(300)})
    plant(tmp_path, {"150.txt": "poison", "151.txt": f"OPENAI_API_KEY={openai_key()}"})
    read = Reader.pieces

    def deadly(self: Reader, path: str) -> Iterator[pieces.Piece]:
        if path.endswith("150.txt"):
            os._exit(9)
        return read(self, path)

    monkeypatch.setattr(Reader, "pieces", deadly)
    report = look_at(tmp_path, given=surroundings(processes=2))
    assert codes(report) == {"process_died": ["150.txt"]}
    assert place(report).path == "151.txt"
    assert report.counts.files == 301 - 2
    assert not report.complete


def test_ctrl_c_keeps_what_was_found(tmp_path: Path) -> None:
    plant(tmp_path, {"000.env": f"OPENAI_API_KEY={openai_key()}"})
    plant(tmp_path, {f"{n:04}.txt": "x\n" for n in range(1, 2000)})
    steps = []

    def interrupt(progress: Progress) -> None:
        steps.append(progress)
        if progress.secrets:
            raise KeyboardInterrupt

    for processes in (1, 2):
        report = scan(
            Wanted(roots=((str(tmp_path), "."),)),
            surroundings(processes=processes),
            progress=interrupt,
        )
        assert report.interrupted
        assert not report.complete
        assert place(report).path == "000.env"
        assert report.counts.files < 2000


def test_a_large_file_is_read_in_windows_and_a_long_line_does_not_hurt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "WINDOW", 512 * 1024)
    monkeypatch.setattr(pieces, "OVERLAP", 64 * 1024)
    first, second = openai_key(), groq_key()
    filler = b"lorem ipsum " * 300_000
    plant(
        tmp_path,
        {
            "line.txt": filler + f' "{first}" '.encode() + filler,
            "lines.txt": filler.replace(b" ", b"\n") + f'\nx = "{second}"\n'.encode() + filler,
        },
    )
    report = look_at(tmp_path)
    places = {loc.path: loc for f in report.findings for loc in f.locations}
    assert (places["line.txt"].line, places["line.txt"].column) == (1, len(filler) + 3)
    assert places["lines.txt"].line == 600_002


def test_binaries_are_skipped_by_content_and_databases_read(tmp_path: Path) -> None:
    key = openai_key()
    plant(tmp_path, {"image.txt": b"\x89PNG\r\n\0" + key.encode()})
    with sqlite3.connect(tmp_path / "state.vscdb") as database:
        database.execute("create table ItemTable (key text, value text)")
        database.execute("insert into ItemTable values ('openaiKey', ?)", [key])
    database.close()
    report = look_at(tmp_path)
    assert place(report).path == "state.vscdb"
    assert place(report).kind is PlaceKind.EDITOR_CONFIGURATION
    assert report.counts.binaries == 1


def test_a_damaged_notebook_is_reported_and_read(tmp_path: Path) -> None:
    text = json.dumps({"cells": [{"cell_type": "code", "source": [f'k = "{openai_key()}"']}]})
    plant(tmp_path, {"n.ipynb": text[:-6]})
    report = look_at(tmp_path)
    assert place(report).kind is PlaceKind.NOTEBOOK_SOURCE
    assert codes(report) == {"malformed": ["n.ipynb"]}


def test_examples_and_placeholders_are_counted_and_shown_on_request(tmp_path: Path) -> None:
    plant(tmp_path, {"aws.txt": "aws_access_key_id = AKIA" + "IOSFODNN7" + "EXAMPLE\n"})
    report = look_at(tmp_path)
    assert not report.findings
    assert report.counts.placeholders == 1
    (finding,) = look_at(tmp_path, with_examples=True).findings
    assert finding.nature == "example"


def test_an_identifier_is_part_of_its_pair_and_a_finding_when_alone(tmp_path: Path) -> None:
    alone, paired = (f"AKIA{characters(16, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567')}" for _ in "ab")
    plant(
        tmp_path,
        {
            "a.txt": f"aws_access_key_id = {alone}\n",
            "b.txt": f"aws_access_key_id = {paired}\naws_secret_access_key = {characters(40)}\n",
        },
    )
    report = look_at(tmp_path)
    assert {(f.locations[0].path, f.key_id) for f in report.findings} == {
        ("a.txt", alone),
        ("b.txt", paired),
    }


def test_environments_of_own_processes(tmp_path: Path) -> None:
    key = openai_key()
    plant(
        tmp_path / "proc",
        {
            "self/environ": "",
            "41/environ": f"PATH=/bin\0OPENAI_API_KEY={key}\0HOME=/h\0",
            "41/comm": "python\n",
            "42/environ": f"PATH=/bin\0OPENAI_API_KEY={key}\0HOME=/h\0",
            "42/comm": "child\n",
            "meminfo": "x",
        },
    )
    report = look_at(
        given=surroundings(proc=tmp_path / "proc"), machine=(tmp_path / "nothing-here-but-asked",)
    )
    location = place(report)
    assert location.kind is PlaceKind.PROCESS_ENVIRONMENT
    assert (location.path, location.name) == ("process 41 (python)", "OPENAI_API_KEY")
