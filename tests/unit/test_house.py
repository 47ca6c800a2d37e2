"""Rules of the house that no linter holds."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "keylease"
MODULES = sorted(PACKAGE.rglob("*.py"))
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
DOMAIN = ("contracts", "strongroom/configuration.py")


def tracked_text() -> Iterator[tuple[Path, str]]:
    names = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - git of the developer
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    for name in filter(None, names):
        path = ROOT / name.decode()
        if path.is_file():
            yield path, path.read_bytes().decode(errors="replace")


def test_files_stay_small() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert statistics.median(lengths.values()) < 200
    assert {path: length for path, length in lengths.items() if length > 800} == {}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_locks_pin_by_hash_and_name_no_index(lock: Path) -> None:
    text = lock.read_text()
    pins = re.findall(r"^[a-z0-9][a-z0-9._-]*(?:\[[^]]*\])?==", text, flags=re.MULTILINE)
    assert pins
    assert text.count("--hash=sha256:") >= len(pins)
    assert "://" not in text
    assert "index-url" not in text


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    places = re.compile(
        r"/(?:home|Users)/(?!user\b|you\b|alice\b)[a-z]|/work/(?:main|shared)|/root/"
    )
    found = [
        path.relative_to(ROOT)
        for path, text in tracked_text()
        if path != Path(__file__) and places.search(text)
    ]
    assert found == []


def test_every_domain_type_is_in_the_glossary() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text().lower()
    modules = [m for m in MODULES if any(part in str(m.relative_to(PACKAGE)) for part in DOMAIN)]
    missing = [
        node.name
        for module in modules
        for node in ast.parse(module.read_text()).body
        if isinstance(node, ast.ClassDef) and not any(w in glossary for w in words(node.name))
    ]
    assert missing == []


def words(name: str) -> Iterator[str]:
    """The entry a type may stand under: its whole name, or its first or last two words or word."""
    parts = [part.lower() for part in re.findall(r"[A-Z][a-z0-9]*", name)]
    yield f"| {' '.join(parts)} |"
    yield f"| {parts[0]} |"
    yield f"| {' '.join(parts[:2])} |"
    yield f"| {parts[-1]} |"


def test_importing_everything_has_no_effect(tmp_path: Path) -> None:
    names = [
        ".".join(("keylease", *module.relative_to(PACKAGE).with_suffix("").parts))
        for module in MODULES
        if module.name not in {"__init__.py", "__main__.py"}
        and "migrations" not in module.parts  # Alembic runs these; nobody imports them
    ]
    script = (
        "import importlib, os, sys, threading\n"
        "before = dict(os.environ)\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "assert dict(os.environ) == before, 'environment'\n"
        "assert threading.active_count() == 1, 'threads'\n"
        "assert os.listdir('.') == [], 'files'\n"
        "from keylease.errors import KeyleaseError\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
