"""Run as a user of one's own, when started as root.

Protects: the strongroom's memory and files from the other zones by the oldest means there is.
Does not protect: anything from root.
Limits: the user must be able to reach the interpreter, its libraries and the configuration. That
    is tried out in a child first, because afterwards there is no way back.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from keylease.primitives.confinement.measures import Measure

_NAME: Final = "own user"
_UNREACHABLE: Final = 1
_LONGEST_ANSWER: Final = 4096


class OwnUser(msgspec.Struct, frozen=True, kw_only=True):
    """The user to become, and what it must be able to use."""

    uid: int
    readable: tuple[str, ...]
    """Files and directories; tried with this user's rights before anything is changed."""
    owned: tuple[str, ...] = ()
    """Directories that become this user's, with everything below, mode 0700; and files, 0600."""
    passed_through: tuple[str, ...] = ()
    """Directories on the way to them that this user may pass, but not list."""
    ports: tuple[int, ...] = ()


def become(user: OwnUser) -> Measure:
    """Become the user for good, or say why not. Never raises for what can be expected."""
    if os.geteuid() != 0:
        return Measure(name=_NAME, on=False, reason="not started as root")
    if any(0 < port < _first_unprivileged_port() for port in user.ports):
        return Measure(name=_NAME, on=False, reason="a listening port below 1024 needs root")
    if obstacle := first_unreachable(user):
        return Measure(name=_NAME, on=False, reason=f"user {user.uid} could not reach {obstacle}")
    for path in user.passed_through:
        Path(path).chmod(0o711)
    for path in user.owned:
        _give(Path(path), user.uid)
    os.setgroups([])
    os.setresgid(user.uid, user.uid, user.uid)
    os.setresuid(user.uid, user.uid, user.uid)
    return Measure(name=_NAME, on=True, reason=f"uid {user.uid}, no other groups")


def first_unreachable(user: OwnUser) -> str:
    """The first of the paths that the user could not use, or an empty string."""
    on_the_way = (str(Path(path).parent) for path in (*user.owned, *user.passed_through))
    needed = (*user.readable, *on_the_way)
    passed = set(user.passed_through)
    answer, ours = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(user.uid, user.uid, user.uid)
            os.setresuid(user.uid, user.uid, user.uid)
            found = next((p for p in needed if p not in passed and not _usable(p)), "")
            os.write(ours, os.fsencode(found)[:_LONGEST_ANSWER])
            os._exit(0)
        finally:
            os._exit(_UNREACHABLE)  # whatever went wrong: a child never returns from here
    os.close(ours)
    try:
        found = os.fsdecode(os.read(answer, _LONGEST_ANSWER))
    finally:
        os.close(answer)
    _, status = os.waitpid(child, 0)
    return found if status == 0 else f"anything (user {user.uid} cannot be used)"


def _usable(path: str) -> bool:
    try:
        directory = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - a child between fork and exit does little
    except FileNotFoundError:
        return True  # what does not exist is not in the way
    except OSError:
        return False
    return os.access(path, os.X_OK if directory else os.R_OK)


def _give(path: Path, uid: int) -> None:
    if path.is_dir() and not path.is_symlink():
        # By descriptors and not by names: what is given away belongs to a user who could put a
        # link in the place of a folder between a look and a step.
        for _, _, names, folder in os.fwalk(path):
            os.fchown(folder, uid, uid)
            os.fchmod(folder, 0o700)
            for name in names:
                os.chown(name, uid, uid, dir_fd=folder, follow_symlinks=False)
    else:
        os.chown(path, uid, uid, follow_symlinks=False)


def _first_unprivileged_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024
