"""One request to a simulated provider, and what is answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final

import msgspec

Json = dict[str, Any]
"""A JSON object as providers define it; its shape is the provider's, not ours."""

JSON_TYPE: Final = "application/json"
STREAM_TYPE: Final = "text/event-stream; charset=utf-8"


class ProviderName(StrEnum):
    """Which provider's wire format a listener speaks."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Call(msgspec.Struct, kw_only=True):
    """A request whose key was accepted."""

    provider: ProviderName
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case; the last of repeated fields."""
    body: bytes
    key_id: str
    number: int
    """Counts the requests of this simulator; makes identifiers unique and repeatable."""
    second: int
    """Seconds since 1970 at which the request came."""

    def json(self) -> Json:
        """The body as a JSON object; raises ``Refusal`` as a provider would."""
        try:
            value = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            raise Refusal(
                400,
                "We could not parse the JSON body of your request.",
                kind="invalid_request_error",
            ) from None
        if not isinstance(value, dict):
            raise Refusal(400, "The JSON body must be an object.", kind="invalid_request_error")
        return value


class Refusal(Exception):
    """The provider answers with an error; each surface gives it the provider's own shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "",
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        """The provider's error type; empty means the usual one for the status."""
        self.param = param
        self.code = code
        self.headers = headers


class TokenCount(msgspec.Struct, kw_only=True):
    """What a call is billed for. A stream counts ``output_tokens`` up while it is read."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class Answer(msgspec.Struct, kw_only=True):
    """What goes back."""

    status: int = 200
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    stream: Iterator[bytes] | None = None
    """The pieces of a streamed body instead of ``body``; one piece, one chunk."""
    model: str = ""
    """The model that is billed; empty when nothing is."""
    tokens: TokenCount | None = None
    requests: int = 1
    """How many are billed: those of a batch that were carried out."""


def json_answer(
    value: object,
    *,
    status: int = 200,
    model: str = "",
    tokens: TokenCount | None = None,
    requests: int = 1,
) -> Answer:
    """A whole JSON answer."""
    body = msgspec.json.encode(value)
    return Answer(status=status, body=body, model=model, tokens=tokens, requests=requests)


def total_of(counts: Iterable[TokenCount]) -> TokenCount:
    """What the requests of a batch are billed for together."""
    total = TokenCount()
    for count in counts:
        total.input_tokens += count.input_tokens
        total.cached_tokens += count.cached_tokens
        total.output_tokens += count.output_tokens
        total.reasoning_tokens += count.reasoning_tokens
    return total


def text_of(content: object) -> str:
    """All text in a message's content, which is a string or a list of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(filter(None, (text_of(part) for part in content)))
    if isinstance(content, dict):
        for name in ("text", "content", "output"):
            if name in content:
                return text_of(content[name])
    return ""


def require(body: Json, name: str, kind: type | tuple[type, ...]) -> object:
    """A required member of a request; raises ``Refusal`` when absent or of another type."""
    if name not in body:
        raise Refusal(
            400,
            f"Missing required parameter: '{name}'.",
            kind="invalid_request_error",
            param=name,
            code="missing_required_parameter",
        )
    value: object = body[name]
    if not isinstance(value, kind):
        raise Refusal(
            400,
            f"Invalid type for '{name}'.",
            kind="invalid_request_error",
            param=name,
            code="invalid_type",
        )
    return value


def event(data: object, *, name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return head.encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"
