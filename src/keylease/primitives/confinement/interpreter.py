"""What any Python process of ours has to reach: its interpreter and the system's files."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Final

import msgspec

_LIBRARIES: Final = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64")
_SYSTEM: Final = (
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/share/locale",
    "/etc/localtime",
    "/etc/resolv.conf",
    # Where that is a link: the files there are replaced whenever the machine's network changes.
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/dev/urandom",
    "/dev/random",
    "/sys/devices/system/cpu",
)
"""Name resolution, certificates, times of day, randomness, the loader's cache."""
_DEVICES: Final = ("/dev/null",)
_SHARED_PREFIXES: Final = ("/", "/usr", "/usr/local")


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """Paths, sorted by what is done with them."""

    readable: tuple[str, ...]
    executable: tuple[str, ...]
    writable: tuple[str, ...] = _DEVICES


def interpreter_needs() -> Needs:
    """Python, the packages it imports, and the system files they open."""
    paths = sysconfig.get_paths()
    prefixes = [
        prefix
        for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
        if prefix not in _SHARED_PREFIXES
    ]
    readable = [
        *prefixes,
        *(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(entry for entry in sys.path if entry),
        *_SYSTEM,
    ]
    # A virtual environment's python is a link, often through further links: name every one.
    programs = [sys.executable, os.path.realpath(sys.executable), *_libraries_beside(prefixes)]
    return Needs(
        readable=tuple(dict.fromkeys(readable)),
        executable=tuple(dict.fromkeys([*programs, *_LIBRARIES])),
    )


def _libraries_beside(prefixes: list[str]) -> list[str]:
    """The directories of a private Python's shared libraries."""
    return [str(Path(prefix) / "lib") for prefix in prefixes]
