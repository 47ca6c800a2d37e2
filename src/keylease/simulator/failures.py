"""Failures on request: by the name of the model, or injected for the next calls.

sim-fail-STATUS       an error of this status in the provider's shape (sim-fail-429, ...-529)
sim-401-once          401 on the first call of a key, then answers
sim-reset             the connection breaks before the answer
sim-reset-midstream   the connection breaks in the middle of the answer
sim-slow              the answer begins late
sim-slow-stream       the pieces of the answer come slowly
sim-echo-key          the key comes back in a header and in the body
sim-echo-key-split    the key comes back in the body, cut across two chunks
sim-redirect          307 to another host
sim-garbage           200 with a body that is no JSON, and no server-sent events
sim-encoded           a compressed body although nobody asked for one
sim-no-usage          an answer without token counts
sim-no-such-model     404 as the provider answers for an unknown model
"""

from __future__ import annotations

import re
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

import msgspec


class FailureKind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    RESET = "reset"
    RESET_MIDSTREAM = "reset-midstream"
    SLOW = "slow"
    SLOW_STREAM = "slow-stream"
    ECHO_KEY = "echo-key"
    ECHO_KEY_SPLIT = "echo-key-split"
    REDIRECT = "redirect"
    GARBAGE = "garbage"
    ENCODED = "encoded"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Something that goes wrong for matching calls."""

    kind: FailureKind
    status: int = 500
    """For ``status``."""
    seconds: float = 1.0
    """For ``slow`` (before the answer) and ``slow-stream`` (before each piece)."""
    after_pieces: int = 3
    """For ``reset-midstream``: how many pieces are sent before the break."""
    location: str = ""
    """For ``redirect``; empty means the simulator's other listener."""
    message: str = "The simulator was told to fail."
    """For ``status``."""
    retry_after: int = 1
    """Seconds; sent with 429, 503 and 529."""
    model: str = "*"
    """Pattern of the models it applies to."""
    path: str = "*"
    """Pattern of the paths it applies to."""
    every: int = 1
    """Applies to each N-th matching call only."""
    times: int | None = None
    """Applies so many times; ``None`` means until removed."""


_STATUS_MODEL: Final = re.compile(r"sim-fail-([45]\d\d)")
_ONCE: Final = "sim-401-once"
NO_SUCH_MODEL: Final = "sim-no-such-model"
NO_USAGE: Final = "sim-no-usage"
_MODELS: Final = {
    f"sim-{kind}": Failure(kind=kind) for kind in FailureKind if kind is not FailureKind.STATUS
}


class _Injected:
    """An injected failure with its counters."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        self.matched = 0
        self.left = failure.times

    def applies(self, model: str, path: str) -> bool:
        if self.left == 0 or not (
            fnmatchcase(model, self.failure.model) and fnmatchcase(path, self.failure.path)
        ):
            return False
        self.matched += 1
        if self.matched % self.failure.every:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Failures:
    """Decides which failure a call gets."""

    def __init__(self, *, slow_seconds: float) -> None:
        self._slow_seconds = slow_seconds
        self._injected: list[_Injected] = []
        self._refused_once: set[str] = set()

    def inject(self, failure: Failure) -> None:
        """Fail matching calls from now on; the first that was injected is asked first."""
        self._injected.append(_Injected(failure))

    def clear(self) -> None:
        """Forget what was injected."""
        self._injected.clear()

    def list(self) -> tuple[Failure, ...]:
        """What was injected and is not used up."""
        return tuple(item.failure for item in self._injected if item.left != 0)

    def plan(self, *, model: str, path: str, key_id: str) -> Failure | None:
        """The failure of this call, or ``None``."""
        for item in self._injected:
            if item.applies(model, path):
                return item.failure
        if found := _STATUS_MODEL.fullmatch(model):
            return Failure(kind=FailureKind.STATUS, status=int(found[1]))
        if model == _ONCE and key_id not in self._refused_once:
            self._refused_once.add(key_id)
            return Failure(kind=FailureKind.STATUS, status=401)
        failure = _MODELS.get(model)
        if failure is not None and failure.kind is FailureKind.SLOW:
            return msgspec.structs.replace(failure, seconds=self._slow_seconds)
        if failure is not None and failure.kind is FailureKind.SLOW_STREAM:
            return msgspec.structs.replace(failure, seconds=self._slow_seconds / 10)
        return failure
