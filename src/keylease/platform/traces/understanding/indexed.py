"""Attributes whose names are paths: ``llm.input_messages.0.message.role``.

OpenTelemetry had no lists of objects when these dialects were made, so they wrote one attribute for
each leaf.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

from keylease.platform.traces.model import AttributeValue

Node: TypeAlias = dict[str, object]

_MOST_STEPS: Final = 16
"""No dialect has longer paths; more is no path but somebody's joke."""


def trees(attributes: dict[str, AttributeValue], prefixes: tuple[str, ...]) -> dict[str, Node]:
    """Put the attributes below each prefix (which ends with a dot) into a tree.

    Where one name is a leaf and the beginning of another path, the path wins.
    """
    found: dict[str, Node] = {}
    for name, value in attributes.items():
        if not name.startswith(prefixes):
            continue
        prefix, steps, last = _path(name, prefixes)
        node = found.get(prefix)
        if node is None:
            node = found[prefix] = {}
        for step in steps:
            below = node.get(step)
            if not isinstance(below, dict):
                below = node[step] = {}
            node = below
        if last not in node or not isinstance(node[last], dict):
            node[last] = value
    return found


@lru_cache(maxsize=4096)  # the same names come with every span
def _path(name: str, prefixes: tuple[str, ...]) -> tuple[str, tuple[str, ...], str]:
    prefix = next(prefix for prefix in prefixes if name.startswith(prefix))
    *steps, last = name[len(prefix) :].split(".", _MOST_STEPS)
    return prefix, tuple(steps), last


def items(node: object) -> list[object]:
    """The members of a node that are numbered, in the order of their numbers."""
    if not isinstance(node, dict):
        return []
    numbered = [
        (int(name), item)
        for name, item in node.items()
        if name.isdigit() and name.isascii() and len(name) < _MOST_STEPS
    ]
    numbered.sort(key=lambda pair: pair[0])
    return [item for _, item in numbered]


def at(node: object, *steps: str) -> object:
    """What lies at a path below a node, or ``None``."""
    for step in steps:
        if not isinstance(node, dict):
            return None
        node = node.get(step)
    return node
