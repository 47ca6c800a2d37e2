"""Compiles what a model call and a span run through, where the machine of the build can.

The same sources run in two forms: interpreted, and compiled to C by mypyc, which takes less than
half the time of a call, and half the time of understanding a span. The wheel holds the sources
either way; a compiled module is found first. Which modules are compiled stands in pyproject.toml.
Without a C compiler, Python's headers or mypyc the wheel is the pure one, and a line says why.
``KEYLEASE_COMPILE=no`` asks for that.

A module that is compiled defines no type that msgspec decodes: a compiled class does not keep the
annotations that a decoder goes by (a test holds this).

What is compiled together is one shared object, which is in the memory of every process that imports
one of its modules. So the platform's modules are an object of their own: none of its code lies in a
process that holds keys.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PLACE: Final = "build/compiled"
_LONGEST: Final = 900
"""Seconds; about 60 on one core are usual."""
_COMPILE_DIRECT_CALLS: Final = ["-fvisibility=hidden", "-fno-semantic-interposition", "-fno-plt"]
_LINK_DIRECT_CALLS: Final = ["-Wl,-Bsymbolic"]
"""Functions of one shared object call each other directly, and not through the table by which
another library could replace them. A call after a pause finds that table cold."""


class _NotCompiled(Exception):
    """The reason, for a person."""


class CompiledCallPath(BuildHookInterface):  # type: ignore[type-arg]  # the plugin's own parameter
    """Puts compiled modules beside their sources into a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless the sources are used where they lie."""
        if version == "editable":
            return
        try:
            found = self._compiled()
        except _NotCompiled as reason:
            self.app.display_warning(
                f"The gateway's call path is not compiled and takes more than twice the time: "
                f"{reason}"
            )
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"].update({str(path): name for name, path in found.items()})

    def _compiled(self) -> dict[str, Path]:
        """Path in the wheel -> compiled file."""
        if os.environ.get("KEYLEASE_COMPILE") == "no":
            raise _NotCompiled("KEYLEASE_COMPILE is 'no'.")
        _require_tools()
        place = Path(self.root, _PLACE)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        modules = compiled_modules(Path(self.root), self.config)
        try:
            ran = subprocess.run(
                [sys.executable, __file__, str(place), *modules],
                cwd=self.root,
                env=os.environ | {"MYPYPATH": "src"},
                capture_output=True,
                text=True,
                timeout=_LONGEST,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _NotCompiled(f"it took more than {_LONGEST} seconds.") from None
        (place / "log").write_text(ran.stdout + ran.stderr)
        if ran.returncode:
            raise _NotCompiled(f"the compiler failed; {_PLACE}/log has its words.")
        wheel = place / "wheel"
        return {
            str(path.relative_to(wheel)): path
            for path in wheel.rglob("*" + str(sysconfig.get_config_var("EXT_SUFFIX")))
        }


def compiled_modules(root: Path, config: dict[str, Any]) -> list[str]:
    """The sources that are compiled, as pyproject.toml names them."""
    named = {path for pattern in config["compiled"] for path in root.glob(pattern)}
    named -= {root / name for name in config["interpreted"]}
    return sorted(str(path.relative_to(root)) for path in named)


def _require_tools() -> None:
    compiler = str(sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None and shutil.which("cc") is None:
        raise _NotCompiled("there is no C compiler.")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise _NotCompiled("Python's headers are not installed.")
    try:
        import mypyc.build  # noqa: F401, PLC0415 - asked for, and absent in a plain pip install
    except ImportError:
        raise _NotCompiled("mypyc is not installed.") from None


def shared_objects(modules: list[str]) -> dict[str, list[str]]:
    """Name of each shared object -> the sources that are compiled into it."""
    platform = [module for module in modules if module.startswith("src/keylease/platform/")]
    others = [module for module in modules if module not in platform]
    return {"keylease": others, "keylease_platform": platform}


def _compile(place: Path, modules: list[str]) -> None:
    from mypyc.build import mypycify  # noqa: PLC0415 - see _require_tools
    from setuptools import Distribution  # noqa: PLC0415 - see _require_tools

    # Types are checked by `make check`, with everything installed; here they only steer mypyc.
    options = ["--config-file=", "--explicit-package-bases", "--ignore-missing-imports",
               "--follow-imports=silent", f"--cache-dir={place / 'types'}"]  # fmt: skip
    extensions = [
        extension
        for name, sources in shared_objects(modules).items()
        for extension in mypycify(
            [*options, *sources],
            opt_level="2",
            debug_level="0",
            group_name=name,
            target_dir=str(place / "c" / name),
        )
    ]
    if sys.platform == "linux":
        for extension in extensions:
            extension.extra_compile_args += _COMPILE_DIRECT_CALLS
            extension.extra_link_args += _LINK_DIRECT_CALLS
    command: Any = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib = str(place / "wheel")
    command.build_temp = str(place / "objects")
    command.parallel = 2  # one compiler for each of the objects
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    _compile(Path(sys.argv[1]), sys.argv[2:])
