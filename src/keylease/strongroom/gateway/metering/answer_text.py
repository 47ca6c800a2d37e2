"""Takes the text that a model wrote out of an answer, whole or streamed.

Text arrives in parts: one for each choice, content block and tool call. Deltas of the same part
are put together, so that nothing is ever looked at in pieces. Memory is bounded; what did not fit
marks its part as cut.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Final, NamedTuple, Protocol

import msgspec

from keylease.strongroom.gateway.metering.sse import SseSplitter

MAXIMUM_BODY: Final = 2 * 1024 * 1024
"""Bytes of an answer that is decoded as a whole; the text of a longer one is not taken."""
_MAXIMUM_PARTS: Final = 64
_MAXIMUM_PIECES: Final = 512
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_RESPONSES_DELTAS: Final = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
    }
)


class Part(NamedTuple):
    """One text of an answer."""

    text: str
    cut: bool
    """The text went on."""


class AnswerText(Protocol):
    """Takes an answer's bytes and gives its texts."""

    truncated: bool
    """Something was not taken."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        ...

    def parts(self) -> list[Part]:
        """The texts, in the order in which they began."""
        ...


class BodyText:
    """An answer that is one JSON object."""

    def __init__(self) -> None:
        self.truncated = False
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._size += len(chunk)
        if self._size > MAXIMUM_BODY:
            self.truncated = True
            self._chunks.clear()
        else:
            self._chunks.append(chunk)

    def parts(self) -> list[Part]:
        """The texts of the answer; none when it is no answer of a model."""
        try:
            document = _decode(b"".join(self._chunks))
        except _UNDECODABLE:
            return []
        texts = [
            *_texts_of_choices(document),
            *_texts_of_blocks(_member(document, "content")),
            *_texts_of_output(_member(document, "output")),
        ]
        return [Part(text, cut=False) for text in texts if text]


class StreamText:
    """An answer that is a stream of server-sent events."""

    def __init__(self, maximum: int) -> None:
        """``maximum`` characters are kept in all."""
        self.truncated = False
        self._left = maximum
        self._pieces: dict[Hashable, list[str]] = {}
        self._cut: set[Hashable] = set()
        self._splitter = SseSplitter()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        for event in self._splitter.feed(chunk):
            if event.data == b"[DONE]":
                continue
            try:
                document = _decode(event.data)
            except _UNDECODABLE:
                continue
            for key, text in _deltas(document):
                self._add(key, text)

    def _add(self, key: Hashable, text: str) -> None:
        pieces = self._pieces.get(key)
        if pieces is None:
            if len(self._pieces) >= _MAXIMUM_PARTS:
                self.truncated = True
                return
            pieces = self._pieces[key] = []
        if key in self._cut:
            return
        if len(text) > self._left:
            self.truncated = True
            self._cut.add(key)
            text = text[: self._left]
        self._left -= len(text)
        pieces.append(text)
        if len(pieces) > _MAXIMUM_PIECES:
            pieces[:] = ["".join(pieces)]

    def parts(self) -> list[Part]:
        """The texts so far."""
        return [Part("".join(pieces), cut=key in self._cut) for key, pieces in self._pieces.items()]


# --- whole answers -------------------------------------------------------------------------


def _texts_of_choices(document: object) -> Iterator[str]:
    """OpenAI chat and completions."""
    for choice in _items(_member(document, "choices")):
        yield _text(_member(choice, "text"))
        message = _member(choice, "message")
        content = _member(message, "content")
        yield _text(content)
        yield from _texts_of_blocks(content)
        yield _text(_member(message, "refusal"))
        yield _text(_member(message, "reasoning_content"))
        for call in _items(_member(message, "tool_calls")):
            function = _member(call, "function")
            yield _call(_member(function, "name"), _member(function, "arguments"))


def _texts_of_blocks(blocks: object) -> Iterator[str]:
    """Anthropic content blocks, and OpenAI content parts."""
    for block in _items(blocks):
        yield _text(_member(block, "text"))
        yield _text(_member(block, "thinking"))
        yield _text(_member(block, "refusal"))
        if _member(block, "type") in {"tool_use", "server_tool_use"}:
            yield _call(_member(block, "name"), _member(block, "input"))


def _texts_of_output(output: object) -> Iterator[str]:
    """OpenAI responses."""
    for item in _items(output):
        yield from _texts_of_blocks(_member(item, "content"))
        yield from _texts_of_blocks(_member(item, "summary"))
        if _member(item, "arguments") is not None or _member(item, "input") is not None:
            arguments = _member(item, "arguments")
            yield _call(
                _member(item, "name"), _member(item, "input") if arguments is None else arguments
            )


def _call(name: object, arguments: object) -> str:
    if isinstance(arguments, (dict, list)):
        arguments = _encode(arguments).decode()
    return f"{_text(name)}({_text(arguments)})"


# --- events --------------------------------------------------------------------------------


def _deltas(document: object) -> Iterator[tuple[Hashable, str]]:
    kind = _text(_member(document, "type"))
    if kind.startswith("content_block_"):
        yield from _anthropic_deltas(document)
    elif kind in _RESPONSES_DELTAS:
        key = (
            kind,
            _number(_member(document, "output_index")),
            _number(_member(document, "content_index")),
            _number(_member(document, "summary_index")),
        )
        yield key, _text(_member(document, "delta"))
    else:
        yield from _chat_deltas(document)


def _chat_deltas(document: object) -> Iterator[tuple[Hashable, str]]:
    for choice in _items(_member(document, "choices")):
        number = _number(_member(choice, "index"))
        delta = _member(choice, "delta")
        for name, holder in (
            ("text", choice),
            ("content", delta),
            ("refusal", delta),
            ("reasoning_content", delta),
        ):
            if text := _text(_member(holder, name)):
                yield (number, name), text
        for call in _items(_member(delta, "tool_calls")):
            function = _member(call, "function")
            key = (number, "tool", _number(_member(call, "index")))
            for name in ("name", "arguments"):
                if text := _text(_member(function, name)):
                    yield key, f"{text}(" if name == "name" else text


def _anthropic_deltas(document: object) -> Iterator[tuple[Hashable, str]]:
    key = _number(_member(document, "index"))
    for part in (_member(document, "content_block"), _member(document, "delta")):
        for name in ("text", "thinking", "partial_json"):
            if text := _text(_member(part, name)):
                yield key, text
        if name := _text(_member(part, "name")):
            yield key, f"{name}("


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
