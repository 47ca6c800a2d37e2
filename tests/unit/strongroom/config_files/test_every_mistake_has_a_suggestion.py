"""Whatever is wrong with a file is said with its line, its reason and what to write instead."""

from __future__ import annotations

import ast
from pathlib import Path

import keylease.strongroom.config_files
from keylease.contracts import policy_rules

ROOM = Path(keylease.strongroom.config_files.__file__).parent
REPORTING = {"report", "warn"}
ARGUMENTS = 3
"""Where, what, and the suggestion."""


def test_every_mistake_has_a_suggestion() -> None:
    without = [
        f"{module.name}:{node.lineno}"
        for module in sorted(ROOM.glob("*.py"))
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in REPORTING
        and len(node.args) < ARGUMENTS
    ]
    assert without == []


def test_so_has_what_is_wrong_with_a_policy_as_a_whole() -> None:
    without = [
        node.lineno
        for node in ast.walk(ast.parse(Path(policy_rules.__file__).read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Finding"
        and "suggestion" not in {keyword.arg for keyword in node.keywords}
    ]
    assert without == []
