"""Ignore files mean what git takes them to mean; git itself is asked."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from keylease.discovery.ignoring import IgnoreRules, parse

ATOMS = (
    "a", "b", "ab", "abc", "*", "**", "a*", "*b", "?", "[ab]", "[!a]", "[a-c]x", "*.py", "x.py",
    "\\a", "a*b*c", "*a*", "[[:alpha:]]", "a ", "a\\ ", "[", "[]a]", "[a-]",
)  # fmt: skip
NAMES = ("a", "b", "ab", "abc", "x.py", "ax", "cx", "axbyc", "z", "a ", "]", "-")


def ignored(rules: IgnoreRules, path: str) -> bool:
    """As git does it: what lies in an ignored directory is ignored, whatever ``!`` says."""
    parts = path.split("/")
    return any(
        rules.decide("/".join(parts[:count]), parts[count - 1], is_directory=count < len(parts))
        for count in range(1, len(parts) + 1)
    )


@pytest.mark.parametrize("seed", range(12))
def test_git_decides_the_same(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - cases to try, not secrets
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)  # noqa: S607 - git
    for _ in range(6):
        lines = []
        for _ in range(chance.randint(1, 3)):
            pattern = "/".join(chance.choice(ATOMS) for _ in range(chance.randint(1, 4)))
            before = chance.choice(("", "", "", "/", "!", "!/"))
            lines.append(before + pattern + chance.choice(("", "", "/")))
        (tmp_path / ".gitignore").write_text("\n".join(lines) + "\n")
        tried = {
            "/".join(chance.choice(NAMES) for _ in range(chance.randint(1, 4))) for _ in range(40)
        }
        answer = subprocess.run(
            ["git", "-C", str(tmp_path), "check-ignore", "-z", "--stdin", "--no-index"],  # noqa: S607 - git
            input="\0".join(sorted(tried)).encode(),
            capture_output=True,
            check=False,
        )
        rules = parse((tmp_path / ".gitignore").read_text())
        mine = {path for path in tried if ignored(rules, path)}
        assert mine == {part.decode() for part in answer.stdout.split(b"\0") if part}, lines


def test_comments_escapes_and_line_ends() -> None:
    rules = parse("# comment\r\n\\#kept\r\n\\!also\r\nspace\\ \nplain  \n\n/\n")
    for name in ("#kept", "!also", "space ", "plain"):
        assert rules.decide(name, name, is_directory=False), name
    assert rules.decide("comment", "comment", is_directory=False) is None


@pytest.mark.parametrize(
    "pattern", ["*a" * 400 + "b", "**/a*/" * 60 + "b", "/".join(["*a*a*a*"] * 30), "[" * 1000]
)
def test_a_hostile_pattern_costs_nothing(pattern: str) -> None:
    rules = parse(pattern)
    path = "/".join(["a" * 250] * 16)
    for _ in range(50):
        assert not rules.decide(path, "a" * 250, is_directory=False)


def test_a_file_of_very_many_patterns_is_cut() -> None:
    rules = parse("".join(f"name{number}\n" for number in range(30_000)))
    assert rules.decide("name1", "name1", is_directory=False)
    assert rules.decide("name29999", "name29999", is_directory=False) is None
