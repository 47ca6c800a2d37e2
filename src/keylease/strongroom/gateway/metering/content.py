"""Prompt and answer text for call records, masked before it is kept.

Protects: a secret in a prompt or an answer is masked before anything is cut, also when it came in
    several pieces: text is put together first, masked second, and cut last, and never inside a
    secret.
Does not protect: what ``detectors`` does not find and is not the call's own credential; a secret
    spread over several messages or tool arguments; images, sound and files, which are not
    recorded.
Limits: ``limit_bytes`` for each direction. Memory is bounded by a few times that, however long the
    call is; what is not recorded is marked as truncated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import msgspec

from keylease import detectors
from keylease.contracts.catalogue import WireFormat
from keylease.strongroom.gateway.metering.answer_text import AnswerText, BodyText, StreamText

MARGIN: Final = 16 * 1024
"""Characters beyond the limit that are read, so that a secret that begins before the limit is seen
whole. An RSA key of 8192 bits has 6,400 characters."""
MAXIMUM_BODY: Final = 4 * 1024 * 1024
"""A longer body is not decoded for its text: that would hold up every other call."""
_MAXIMUM_DEPTH: Final = 64
_LEFT_OUT: Final = "[left out]"
_CREDENTIAL: Final = "[secret:credential]"
_SHORTEST_PART: Final = 8
"""Characters; a shorter beginning of a credential, where a text was cut, says nothing."""
_REQUEST_MEMBERS: Final = ("system", "instructions", "messages", "input", "prompt", "tools")
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_Item = TypeVar("_Item")


class CapturedContent(msgspec.Struct, frozen=True, kw_only=True):
    """Masked text of one call."""

    input: str | None = None
    output: str | None = None
    truncated: bool = False


class ContentCapture:
    """Collects the text of one call. Never raises, whatever it is fed."""

    def __init__(
        self, wire_format: WireFormat, *, streamed: bool, limit_bytes: int = 65536
    ) -> None:
        self._wire_format = wire_format
        self._limit = limit_bytes
        self._input: str | None = None
        self._truncated = False
        self._answer: AnswerText = (
            StreamText(2 * (limit_bytes + MARGIN)) if streamed else BodyText()
        )
        self._began = False

    def request(self, body: bytes) -> None:
        """Take the request's JSON body."""
        if len(body) > MAXIMUM_BODY:
            self._truncated = True
            return
        try:
            document = _decode(body)
        except _UNDECODABLE:
            return
        if not isinstance(document, dict):
            return
        chosen = {name: document[name] for name in _REQUEST_MEMBERS if name in document}
        budget = _Budget(self._limit)
        if len(chosen) == 1 and isinstance(only := next(iter(chosen.values())), str):
            text = budget.masked(only)
        elif chosen:
            # Each string was masked as it is. Written as JSON it is masked again, because a value
            # may only be telling beside the name of its member.
            text, _ = detectors.mask(_encode(_masked(chosen, budget)).decode("utf-8", "replace"))
        else:
            return
        self._input = self._cut(text)
        self._truncated = self._truncated or budget.exceeded

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the answer's body."""
        if not self._began and chunk:
            self._began = True
            if chunk.lstrip()[:1] == b"{":
                self._answer = BodyText()  # a provider may answer a stream's request at once
        self._answer.feed(chunk)

    def finish(self, credential: str = "") -> CapturedContent:
        """Mask, then cut to the limit.

        ``credential`` is what the call was authenticated with. It is masked whatever its form is:
        a provider may give it back, in pieces or with escapes, and no detector knows every form.
        """
        budget = _Budget(self._limit)
        parts = [
            budget.masked(_without(part.text, credential), cut=part.cut)
            for part in self._answer.parts()
        ]
        text = "\n".join(part for part in parts if part)
        output = self._cut(detectors.mask(text)[0]) if text else None
        return CapturedContent(
            input=None if self._input is None else _without(self._input, credential),
            output=output,
            truncated=self._truncated or self._answer.truncated or budget.exceeded,
        )

    def _cut(self, masked: str) -> str:
        """At most the limit in bytes. ``masked`` holds no secret, so any place is safe."""
        encoded = masked.encode("utf-8", "replace")
        if len(encoded) <= self._limit:
            return encoded.decode()
        self._truncated = True
        return encoded[: self._limit].decode("utf-8", "ignore")


def _without(text: str, credential: str) -> str:
    """The text without the credential, and without the beginning of it where the text ends."""
    if not credential:
        return text
    text = text.replace(credential, _CREDENTIAL)
    for size in range(len(credential) - 1, _SHORTEST_PART - 1, -1):
        if text.endswith(credential[:size]):
            return text[:-size]
    return text


class _Budget:
    """Masks one text after another until as many characters as the limit have been taken."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self.exceeded = False

    def masked(self, text: str, *, cut: bool = False) -> str:
        """The masked text as far as the budget goes; a secret is kept out as a whole.

        The text is cut by its own, unmasked characters: masking makes it shorter, and a cut by
        the masked length would let in the beginning of a secret that the margin cut off. The end
        of a text that is ``cut`` already is read and not kept, for the same reason.
        """
        end = min(self._left, max(0, len(text) - MARGIN) if cut else len(text))
        if len(text) > end:
            self.exceeded = True
        pieces = []
        position = 0
        for finding in detectors.find(text[: end + MARGIN]):
            if finding.start >= end:
                break
            pieces += [text[position : finding.start], finding.replacement]
            position = finding.end
        if position < end:
            pieces.append(text[position:end])
        self._left = max(0, self._left - len(text))
        return "".join(pieces)

    def each(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The items until the budget is used up; each costs a little, also an empty one."""
        for item in items:
            if self._left <= 0:
                self.exceeded = True
                return
            self._left -= 1
            yield item


def _masked(value: object, budget: _Budget, depth: int = 0) -> object:
    """A copy with every string masked, up to the budget; encoded data is left out."""
    if depth > _MAXIMUM_DEPTH:
        budget.exceeded = True
        return _LEFT_OUT
    if isinstance(value, str):
        if value.startswith("data:") and ";base64," in value[:128]:
            return _LEFT_OUT
        return budget.masked(value)
    if isinstance(value, list):
        return [_masked(item, budget, depth + 1) for item in budget.each(value)]
    if isinstance(value, dict):
        encoded = value.get("type") == "base64" or "format" in value
        return {
            budget.masked(key): _LEFT_OUT
            if encoded and key == "data" and isinstance(item, str)
            else _masked(item, budget, depth + 1)
            for key, item in budget.each(value.items())
        }
    return value
