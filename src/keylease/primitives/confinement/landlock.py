"""Landlock: this process gives up, for good, every file and port that it does not need.

Protects: other zones' files, the user's files and the rest of the machine from a strongroom
    process that was taken over; binding of other TCP ports (ABI 4); signals and abstract sockets
    to processes outside (ABI 6). Children inherit it and cannot get out.
Does not protect: outgoing connections (a gateway must reach its providers), Unix sockets with a
    path, what was open before.
Limits: Linux 5.13 and later. Older kernels know fewer rights; what this one knows is negotiated
    and reported. Applies to the calling thread: call it before any other is started.

Source: the kernel's Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from typing import Final

import msgspec

from keylease.primitives.confinement.measures import Measure

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
"""The numbers are the same on every architecture (they were given after 5.1)."""
_VERSION_FLAG: Final = 1
_RULE_PATH: Final = 1
_RULE_PORT: Final = 2
_PR_SET_NO_NEW_PRIVS: Final = 38

_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_FIRST_RIGHTS: Final = (1 << 13) - 1
"""Everything that ABI 1 knows: bits 0 (execute) to 12 (make symlink)."""
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_IOCTL_DEVICE: Final = 1 << 15
_FILE_RIGHTS: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
"""What may be said about a single file; anything else with one is EINVAL."""
_BIND_TCP: Final = 1 << 0
_SCOPE_ABSTRACT_SOCKETS: Final = 1 << 0
_SCOPE_SIGNALS: Final = 1 << 1

_REFER_ABI: Final = 2
_TRUNCATE_ABI: Final = 3
_NETWORK_ABI: Final = 4
_IOCTL_ABI: Final = 5
_SCOPE_ABI: Final = 6


class Confinement(msgspec.Struct, frozen=True, kw_only=True):
    """What a process keeps. Paths that do not exist are left out."""

    readable: tuple[str, ...] = ()
    executable: tuple[str, ...] = ()
    """Readable too."""
    writable: tuple[str, ...] = ()
    """Readable and writable, with everything below."""
    devices: tuple[str, ...] = ()
    """Readable and writable devices whose settings may be changed: terminals."""
    ports: tuple[int, ...] | None = None
    """TCP ports that may be bound, 0 being any free one; ``None`` leaves ports alone."""
    scoped: bool = True
    """No signals and no abstract sockets to processes outside."""


def landlock_abi() -> int:
    """The version that this kernel speaks; 0 when there is none or it is switched off."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION_FLAG)))


def confine(plan: Confinement, *, abi: int | None = None) -> Measure:
    """Give up everything that ``plan`` does not name. It never raises: the measure says it.

    ``abi`` lowers the version, for tests of older kernels.
    """
    name = "confined by Landlock"
    found = landlock_abi()
    version = found if abi is None else min(abi, found)
    if version < 1:
        return Measure(name=name, on=False, reason="this kernel does not offer Landlock")
    try:
        _restrict(plan, version)
    except OSError as error:
        return Measure(name=name, on=False, reason=error.strerror or "refused")
    return Measure(name=name, on=True, reason=f"ABI {version}: {_covered(plan, version)}")


def _restrict(plan: Confinement, version: int) -> None:
    files = _rights(version)
    ports = _BIND_TCP if plan.ports is not None and version >= _NETWORK_ABI else 0
    scoped = (
        _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if plan.scoped and version >= _SCOPE_ABI else 0
    )
    # 1. The ruleset names what is taken away; shorter structs are what older kernels expect.
    attributes = struct.pack("=QQQ", files, ports, scoped)
    size = 8 if version < _NETWORK_ABI else 16 if version < _SCOPE_ABI else 24
    ruleset = _checked(
        _CREATE_RULESET,
        ctypes.c_char_p(attributes[:size]),
        ctypes.c_size_t(size),
        ctypes.c_uint(0),
    )
    try:
        # 2. The rules name what is kept.
        read = _READ_FILE | _READ_DIR
        _allow_paths(ruleset, plan.readable, read)
        _allow_paths(ruleset, plan.executable, read | _EXECUTE)
        _allow_paths(ruleset, plan.writable, files & ~_EXECUTE & ~_IOCTL_DEVICE)
        devices = read | _WRITE_FILE | (_IOCTL_DEVICE & files)
        _allow_paths(ruleset, plan.devices, devices)
        if ports:
            for port in sorted(set(plan.ports or ())):
                rule = ctypes.c_char_p(struct.pack("=QQ", _BIND_TCP, port))
                _checked(
                    _ADD_RULE,
                    ctypes.c_int(ruleset),
                    ctypes.c_int(_RULE_PORT),
                    rule,
                    ctypes.c_uint(0),
                )
        # 3. Without new privileges, so that no set-uid program can be confused by the confinement.
        libc = ctypes.CDLL(None, use_errno=True)
        zero = ctypes.c_ulong(0)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) != 0:
            raise _error()
        # 4. There is no way back from here.
        _checked(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)


def _rights(version: int) -> int:
    rights = _FIRST_RIGHTS
    if version >= _REFER_ABI:
        rights |= _REFER
    if version >= _TRUNCATE_ABI:
        rights |= _TRUNCATE
    if version >= _IOCTL_ABI:
        rights |= _IOCTL_DEVICE
    return rights


def _allow_paths(ruleset: int, paths: Iterable[str], rights: int) -> None:
    for path in dict.fromkeys(paths):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            # O_PATH needs no permission on the file itself; one that we cannot even reach is one
            # that we could not have used anyway.
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
                allowed = rights if directory else rights & _FILE_RIGHTS
                rule = ctypes.c_char_p(struct.pack("=Qi", allowed, descriptor))
                _checked(
                    _ADD_RULE,
                    ctypes.c_int(ruleset),
                    ctypes.c_int(_RULE_PATH),
                    rule,
                    ctypes.c_uint(0),
                )
            finally:
                os.close(descriptor)


def _covered(plan: Confinement, version: int) -> str:
    parts = ["files"]
    if plan.ports is not None:
        parts.append("TCP ports" if version >= _NETWORK_ABI else "not TCP ports (needs ABI 4)")
    if plan.scoped:
        parts.append("signals" if version >= _SCOPE_ABI else "not signals (needs ABI 6)")
    return ", ".join(parts)


def _checked(number: int, *arguments: object) -> int:
    result = _syscall(number, *arguments)
    if result < 0:
        raise _error()
    return result


def _syscall(number: int, *arguments: object) -> int:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    return int(function(ctypes.c_long(number), *arguments))


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
