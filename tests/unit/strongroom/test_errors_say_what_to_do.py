"""A lease or a secret that is refused comes with advice, wherever that is raised."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import keylease
from keylease import errors

PACKAGE = Path(keylease.__file__).parent
ROOMS = ("strongroom/stores", "strongroom/leases")
FILES = ("strongroom/bindings.py", "strongroom/secret_commands.py", "contracts/references.py")
MODULES = sorted(
    [*(PACKAGE / file for file in FILES)]
    + [module for room in ROOMS for module in (PACKAGE / room).glob("*.py")]
)
SPOKEN_TO_PROGRAMS = {"exchange_form.py", "trace_tokens.py"}
"""Their errors are codes of OAuth, which programs read."""
EXEMPT = {"SignatureInvalid", "IssuerUnavailable"}
"""The one is never shown as it is: whoever asked for the check says what it means. The other has
advice of its own."""


def without_advice(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        kind = getattr(errors, node.func.id, None)
        ours = isinstance(kind, type) and issubclass(kind, errors.KeyleaseError)
        if ours and node.func.id not in EXEMPT and "advice" not in {k.arg for k in node.keywords}:
            yield f"{module.name}:{node.lineno} {node.func.id}"


def test_every_error_has_advice() -> None:
    found = [
        place
        for module in MODULES
        if module.name not in SPOKEN_TO_PROGRAMS
        for place in without_advice(module)
    ]
    assert found == []
