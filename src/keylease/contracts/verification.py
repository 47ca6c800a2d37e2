"""What passes between a scanner and the strongroom process that asks providers about found keys.

Protects: a question is handed over a pipe, in one write that the system does not cut, so that the
    processes of one scan need no lock; its text form has no secret.
Does not protect: whoever may read the memory of either process.

A frame is four bytes of length, the most significant first, and a msgpack array. Append-only.
"""

from __future__ import annotations

import select
from typing import Final

import msgspec

from keylease.contracts.findings import Belonging, Liveness

LONGEST_FRAME: Final = select.PIPE_BUF
"""Bytes up to which a write to a pipe is not mixed with another's (POSIX write())."""
_LENGTH: Final = 4


class Question(msgspec.Struct, frozen=True, array_like=True):
    """A found key, about which its provider is to be asked. Holds the key: never stored."""

    digest: bytes
    """Tells equal secrets apart from others within one scan; the verdict carries it back."""
    kind: str
    """As the detectors name it; decides who is asked."""
    key_id: str
    """The public half of a pair, where there is one."""
    secret: bytes

    def __repr__(self) -> str:
        return f"Question({self.kind})"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider said about one key."""

    digest: bytes = b""
    liveness: Liveness
    reason: str
    at: int = 0
    """When it was asked; UTC microseconds, 0 when it was not."""
    belongs_to: Belonging | None = None


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Question)


def frame(question: Question) -> bytes | None:
    """The question as it goes over the pipe; ``None`` when it is too long for one write."""
    body = _ENCODER.encode(question)
    whole = len(body).to_bytes(_LENGTH, "big") + body
    return whole if len(whole) <= LONGEST_FRAME else None


class QuestionFrames:
    """Puts questions together again from what a pipe gives."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Question]:
        """The questions that are whole now. Raises ``ValueError`` for what is no frame."""
        self._rest += data
        found = []
        while len(self._rest) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._rest[:_LENGTH], "big")
            if end > LONGEST_FRAME:
                raise ValueError("a frame is longer than any that is written")
            if len(self._rest) < end:
                break
            try:
                found.append(_DECODER.decode(bytes(self._rest[_LENGTH:end])))
            except msgspec.MsgspecError:
                raise ValueError("a frame holds no question") from None
            self._rest[:end] = bytes(end)
            del self._rest[:end]
        return found
