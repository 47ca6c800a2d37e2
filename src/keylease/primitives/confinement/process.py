"""Switches of the operating system that keep this process's memory to itself.

Protects: against core dumps, debuggers and `/proc/<pid>/mem` of other processes of the same user,
    keys in swap, and programs that would gain privileges when they are executed from here.
Does not protect: against root, the kernel, or code that runs inside this process.
Limits: memory is locked only where the limit on locked memory is unlimited, because with a finite
    one every later allocation could fail. Nothing but core dumps and debuggers on macOS.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from keylease.primitives.confinement.measures import Measure

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4
_SAME_MCL_FLAGS: Final = ("x86_64", "aarch64", "armv7l", "i686", "riscv64", "s390x")
"""Machines on which the constants above hold (the kernel's asm-generic/mman.h)."""
_PT_DENY_ATTACH: Final = 31
"""From macOS's sys/ptrace.h."""
_ELSEWHERE: Final = "not available on this system"
_CAP_IPC_LOCK: Final = 14
_PRIVATE_FILES: Final = 0o077


def harden_process() -> tuple[Measure, ...]:
    """Switch on what this system has. Call it before any secret is read; it never raises."""
    os.umask(_PRIVATE_FILES)
    return (no_core_dumps(), not_dumpable(), memory_locked(), no_new_privileges())


def no_core_dumps() -> Measure:
    """Set the core limit to 0, soft and hard."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        return Measure(name="no core dumps", on=False, reason=str(error))
    return Measure(name="no core dumps", on=True, reason="the core limit is 0")


def not_dumpable() -> Measure:
    """Take /proc/<pid>/mem and ptrace away from other processes of the same user.

    A change of user switches this off again: call it once more after one.
    """
    name = "not dumpable"
    if sys.platform == "darwin":
        if _libc().ptrace(_PT_DENY_ATTACH, 0, None, 0) == 0:
            return Measure(name=name, on=True, reason="debuggers are refused (PT_DENY_ATTACH)")
        return Measure(name=name, on=False, reason=_failure())
    if not _prctl():
        return Measure(name=name, on=False, reason=_ELSEWHERE)
    if _call(_PR_SET_DUMPABLE, 0) != 0 or _call(_PR_GET_DUMPABLE, 0) != 0:
        return Measure(name=name, on=False, reason=_failure())
    return Measure(name=name, on=True, reason="PR_SET_DUMPABLE is 0")


def memory_locked() -> Measure:
    """Keep every page that is touched from now on out of swap."""
    name = "memory locked"
    if not sys.platform.startswith("linux") or platform.machine() not in _SAME_MCL_FLAGS:
        return Measure(name=name, on=False, reason=_ELSEWHERE)
    limit = _raise_lock_limit()
    if limit != resource.RLIM_INFINITY and not _may_lock_all():
        memory_unlocked()  # it may have been on while this process still had the right to it
        return Measure(
            name=name,
            on=False,
            reason=f"at most {limit // 1024} KiB may be locked;"
            " allow more with `ulimit -l unlimited` or LimitMEMLOCK=infinity",
        )
    if _libc().mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return Measure(name=name, on=False, reason=_failure())
    return Measure(name=name, on=True, reason="pages are locked when they are first used")


def memory_unlocked() -> None:
    """Undo ``memory_locked``: before a change of user, after which it may not be permitted."""
    if sys.platform.startswith("linux"):
        _libc().munlockall()


def no_new_privileges() -> Measure:
    """Make set-uid programs and file capabilities without effect from here on."""
    name = "no new privileges"
    if not _prctl():
        return Measure(name=name, on=False, reason=_ELSEWHERE)
    if _call(_PR_SET_NO_NEW_PRIVS, 1) != 0 or _call(_PR_GET_NO_NEW_PRIVS, 0) != 1:
        return Measure(name=name, on=False, reason=_failure())
    return Measure(name=name, on=True, reason="PR_SET_NO_NEW_PRIVS is 1")


def stop_with_parent() -> None:
    """Get SIGTERM when the thread that started this process ends. Linux only.

    A change of user switches it off: call it after one.
    """
    if _prctl():
        _call(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _raise_lock_limit() -> int:
    """Raise the limit on locked memory as far as permitted; gives what it is then."""
    unlimited = resource.RLIM_INFINITY
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    for wanted in ((unlimited, unlimited), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, wanted)
        except (OSError, ValueError):
            continue
        break
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]


def _may_lock_all() -> bool:
    """Whether CAP_IPC_LOCK lifts the limit (capabilities(7))."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, flags=re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> _CAP_IPC_LOCK & 1)


def _prctl() -> bool:
    return sys.platform.startswith("linux")


def _call(option: int, value: int) -> int:
    function: Callable[..., int] = _libc().prctl
    zero = ctypes.c_ulong(0)
    return function(option, ctypes.c_ulong(value), zero, zero, zero)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _failure() -> str:
    number = ctypes.get_errno()
    return os.strerror(number) if number else errno.errorcode.get(errno.EPERM, "refused")
