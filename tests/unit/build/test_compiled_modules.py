"""Which modules the wheel holds compiled, and what must not be in them."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest
from hatch_build import compiled_modules, shared_objects

ROOT = Path(__file__).parents[3]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
    "wheel"
]["hooks"]["custom"]
MODULES = compiled_modules(ROOT, HOOK)


def test_every_name_leads_to_a_module() -> None:
    assert all(list(ROOT.glob(pattern)) for pattern in HOOK["compiled"])
    assert all((ROOT / name).is_file() for name in HOOK["interpreted"])
    assert "src/keylease/strongroom/gateway/call/exchange.py" in MODULES


@pytest.mark.parametrize("module", MODULES)
def test_no_type_that_a_decoder_goes_by_is_compiled(module: str) -> None:
    classes = [
        node
        for node in ast.walk(ast.parse((ROOT / module).read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert [c.name for c in classes if any("Struct" in ast.unparse(base) for base in c.bases)] == []


def test_what_a_process_with_keys_loads_holds_nothing_of_the_platform() -> None:
    """A shared object is in memory whole, whichever of its modules is imported."""
    objects = shared_objects(MODULES)
    zones = {
        name: {Path(module).parts[2] for module in modules} for name, modules in objects.items()
    }
    assert zones == {"keylease": {"primitives", "strongroom"}, "keylease_platform": {"platform"}}
    assert sorted(module for modules in objects.values() for module in modules) == MODULES
