"""The lines of a batch's input file: requests that the provider will carry out later.

Protects: a batch makes the provider run nothing that the caller could not ask for line by line:
    listed paths, models that the lease and a grant allow, stored objects that the caller may use.
Does not protect: against a provider that reads other lines out of the same bytes than a JSON
    decoder; what ``str.splitlines`` would cut out of a line is refused where it is an object.
    What the lines may use is counted as it is for calls.
Limits: one model for all lines, as OpenAI asks for; each is read when it is whole, up to
    ``MAXIMUM_LINE`` bytes; up to ``MAXIMUM_LINES`` lines, empty ones among them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from keylease.errors import AccessDenied, ObjectNotAllowed, RequestMalformed
from keylease.strongroom.gateway.call.bodies import JsonBody, is_doubled
from keylease.strongroom.gateway.call.reserving import LineBounds
from keylease.strongroom.gateway.call.routing import Decision
from keylease.strongroom.gateway.interfaces import BatchBound
from keylease.strongroom.gateway.providers.interfaces import BodyKind, Operation, Surface

MAXIMUM_LINE: Final = 16 * 1024 * 1024
"""Bytes."""
MAXIMUM_LINES: Final = 200_000
"""OpenAI takes 50,000 requests in a file."""
_MAXIMUM_OBJECTS: Final = 4096
_MAXIMUM_TOOL_MODELS: Final = 16
_RAW_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_MEMBERS: Final = frozenset({"custom_id", "method", "url", "body"})
_BREAKS: Final = (b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9")
"""What only some readers take for the end of a line, and may stand within JSON."""


class BatchLines:
    """Reads a file piece by piece and keeps what it names."""

    __slots__ = (
        "_bounds", "_decide", "_number", "_pieces", "_size", "_surface", "_tool_models", "decision",
        "model", "object_ids",
    )  # fmt: skip

    def __init__(self, surface: Surface, decide: Callable[[str], Decision]) -> None:
        """``decide`` asks the policy about a model; raises ``AccessDenied``."""
        self._surface = surface
        self._decide = decide
        self._pieces: list[bytes] = []
        """The line that is not whole."""
        self._size = 0
        self._number = 0
        self._tool_models: dict[str, None] = {}
        self._bounds = LineBounds()
        self.model = ""
        """The one that all lines name."""
        self.decision: Decision | None = None
        """What the policy says to it."""
        self.object_ids: dict[str, None] = {}
        """Stored objects that the lines name."""

    @property
    def models(self) -> tuple[str, ...]:
        """All models: the one of the lines, then those that their tools name."""
        return (self.model, *self._tool_models)

    @property
    def bound(self) -> BatchBound:
        """What a batch of the lines may use."""
        return self._bounds.total

    def feed(self, data: bytes) -> None:
        """Check the lines that ``data`` completes; raises what is wrong with the first bad one."""
        end = data.rfind(b"\n")
        if end < 0:
            self._pieces.append(data)
            self._size += len(data)
        else:
            self._pieces.append(data[:end])
            whole = b"".join(self._pieces)
            self._pieces = [data[end + 1 :]]
            self._size = len(data) - end - 1
            for line in whole.split(b"\n"):
                self._read(line)
        if self._size > MAXIMUM_LINE:
            raise RequestMalformed("A line of the batch's file is too long.")

    def finish(self) -> None:
        """The file is whole; its last line may have no end."""
        rest = b"".join(self._pieces)
        self._pieces = []
        self._read(rest)
        if self.decision is None:
            raise RequestMalformed("The batch's file has no lines.")

    def _read(self, line: bytes) -> None:
        self._number += 1
        if self._number > MAXIMUM_LINES:
            raise RequestMalformed(f"The batch's file has more than {MAXIMUM_LINES} lines.")
        line = line.removesuffix(b"\r")
        if not line.strip(b" \t"):
            return
        try:
            self._check(line)
        except (RequestMalformed, AccessDenied) as error:
            message = f"Line {self._number} of the batch's file: {error.message}"
            raise type(error)(message, advice=error.advice) from error

    def _check(self, line: bytes) -> None:
        # 1. It is one JSON object for every reader, with the members that make a request.
        _refuse_other_lines(line)
        body, operation = self._request(line)
        # 2. The model may be used, and is that of the other lines.
        model = body.model or operation.default_model
        if not model:
            raise RequestMalformed("The request names no model.", advice="Set the member 'model'.")
        if model != self.model:
            if self.model:
                self._decide(model)
                raise RequestMalformed(
                    "It names another model than the lines before.",
                    advice="Upload one file for each model.",
                )
            self.decision = self._decide(model)
            self.model = model
        for further in body.further_models():
            if further not in self._tool_models:
                self._decide(further)
                self._tool_models[further] = None
            if len(self._tool_models) > _MAXIMUM_TOOL_MODELS:
                raise RequestMalformed("The tools of the lines name too many models.")
        # 3. The stored objects are remembered; who made them is asked at the end of the file.
        for name in body.objects(self._surface.references, items=operation.stored_by_default):
            self.object_ids[name] = None
        if len(self.object_ids) > _MAXIMUM_OBJECTS:
            raise ObjectNotAllowed(
                f"The lines name more than {_MAXIMUM_OBJECTS} stored objects.",
                advice="Upload more than one file.",
            )
        # 4. What it may use is counted, for the budgets of whoever starts the batch.
        self._bounds.add(body.data, body.members, operation, body.names)

    def _request(self, line: bytes) -> tuple[JsonBody, Operation]:
        try:
            members = _RAW_MEMBERS.decode(line)
            method = _TEXT.decode(members["method"])
            url = _TEXT.decode(members["url"])
            raw = bytes(members["body"])
        except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestMalformed(
                "It is no JSON object with the members 'method', 'url' and 'body'."
            ) from error
        if not _MEMBERS.issuperset(members):
            raise RequestMalformed(
                "It has a member that the lines of a batch do not have.",
                advice="The members are custom_id, method, url and body.",
            )
        # As many colons as members, besides those of the body: none was sent twice.
        doubtful = line.count(b":") - raw.count(b":") != len(members)
        if doubtful and is_doubled(line):
            raise RequestMalformed("A member was sent twice.")
        match = self._surface.match(url.removeprefix("/v1")) if url.startswith("/v1/") else None
        operation = match.methods.get(method) if match is not None else None
        if (
            operation is None
            or operation.body is not BodyKind.JSON
            or operation.any_model
            or operation.batch
        ):
            raise RequestMalformed("It asks for a path that a batch does not serve.")
        return JsonBody(raw), operation


def _refuse_other_lines(line: bytes) -> None:
    """Refuse a line out of which a reader with more line ends would cut a request."""
    for mark in _BREAKS:
        if line.find(mark) >= 0:
            break
    else:
        return
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise RequestMalformed("It is not UTF-8.") from error
    for part in text.splitlines():
        if part.lstrip().startswith("{") and part != text:
            try:
                _RAW_MEMBERS.decode(part)
            except (msgspec.DecodeError, RecursionError):
                continue
            raise RequestMalformed(
                "A part of it would be a line of its own for some readers.",
                advice="Write line breaks within strings as \\u2028 and the like.",
            )
