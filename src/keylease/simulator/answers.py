"""Deterministic answers: the same request gives the same text, tokens and numbers.

A token is a run of characters that are not white space, with the white space before it. A message
costs three tokens more than its text. So tests can count by hand what a call must cost.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from keylease.simulator.exchange import Json, text_of

MESSAGE_OVERHEAD: Final = 3
DEFAULT_ANSWER_TOKENS: Final = 24
_TOKEN: Final = re.compile(r"\s*\S+")
_TOKENS_MODEL: Final = re.compile(r"sim-tokens-(\d{1,6})")
_WORDS: Final = (
    "amber",
    "basin",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "inlet",
    "jetty",
    "knoll",
    "lagoon",
    "meadow",
    "north",
    "orchard",
    "prairie",
    "quarry",
    "ridge",
    "summit",
    "timber",
    "upland",
    "valley",
    "willow",
    "yonder",
)
_QUOTED_WORDS: Final = 8


def split_tokens(text: str) -> list[str]:
    """The tokens of a text; joined they give the text without trailing white space."""
    return _TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """How many tokens a text is billed as."""
    return len(split_tokens(text))


def count_messages(messages: Sequence[object]) -> int:
    """What a list of messages is billed as."""
    return sum(count_tokens(text_of(message)) + MESSAGE_OVERHEAD for message in messages)


class Reply(msgspec.Struct, frozen=True):
    """An answer's text, cut where the caller's limit is."""

    pieces: tuple[str, ...]
    """Tokens; a stream sends one each."""
    cut: bool

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


def reply(model: str, prompt: str, *, maximum: int | None = None, variant: int = 0) -> Reply:
    """Answer ``prompt``: a sentence that repeats its beginning, then words drawn from its hash.

    The model ``sim-tokens-N`` answers N tokens.
    """
    wanted = DEFAULT_ANSWER_TOKENS
    if found := _TOKENS_MODEL.fullmatch(model):
        wanted = int(found[1])
    quoted = " ".join(prompt.split()[:_QUOTED_WORDS])
    tokens = split_tokens(f"Simulated answer to: {quoted}" if quoted else "Simulated answer.")
    digest = hashlib.sha256(f"{variant}\0{prompt}".encode()).digest()
    position = 0
    while len(tokens) < wanted:
        tokens.append(" " + _WORDS[(digest[position % 32] + position) % len(_WORDS)])
        position += 1
    limit = wanted if maximum is None else min(wanted, maximum)
    return Reply(tuple(tokens[:limit]), cut=maximum is not None and maximum < wanted)


def whole(text: str) -> Reply:
    """A given text as a reply (JSON answers, which are never cut)."""
    return Reply(tuple(split_tokens(text)), cut=False)


def fill(schema: object, prompt: str) -> Any:  # noqa: ANN401 - any JSON value, as the schema says
    """The smallest value that a JSON schema describes; strings repeat the prompt's last word."""
    if not isinstance(schema, dict):
        return None
    for choice in ("enum", "anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            first = schema[choice][0]
            return first if choice == "enum" else fill(first, prompt)
    kind = schema.get("type") or ("object" if "properties" in schema else "null")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: fill(properties.get(name), prompt) for name in properties}
    if kind == "array":
        return [fill(schema.get("items"), prompt)] * max(1, int(schema.get("minItems", 1)))
    words = [word.strip(".,?!\"'") for word in prompt.split()]
    simple = {"integer": 1, "number": 1.5, "boolean": True, "string": (words or ["text"])[-1]}
    return schema.get("const", simple.get(str(kind)))


def structured(schema: object, prompt: str) -> str:
    """JSON text for a caller that asked for JSON, by schema or any object."""
    value = fill(schema, prompt) if schema is not None else {"answer": reply("", prompt).text}
    return msgspec.json.encode(value).decode()


class ToolUse(msgspec.Struct, frozen=True):
    """A tool the answer calls."""

    name: str
    arguments: Json


def choose_tool(
    tools: Sequence[tuple[str, object]], *, prompt: str, named: str = "", answered: bool
) -> ToolUse | None:
    """Which tool is called: the named one, else one the prompt mentions, else the first.

    ``tools`` are names with their argument schemas. When the conversation's last message already is
    a tool's result (``answered``), text is answered instead.
    """
    if not tools or answered:
        return None
    known = dict(tools)
    name = named if named in known else next((n for n in known if n in prompt), tools[0][0])
    arguments = fill(known[name], prompt)
    return ToolUse(name, arguments if isinstance(arguments, dict) else {})


def embedding(text: str, dimensions: int) -> list[float]:
    """A unit vector drawn from the text's hash."""
    raw = hashlib.shake_256(text.encode()).digest(2 * dimensions)
    values = [number / 32768.0 for number in struct.unpack(f"<{dimensions}h", raw)]
    length = sum(value * value for value in values) ** 0.5 or 1.0
    return [value / length for value in values]


def identifier(prefix: str, number: int, salt: str = "") -> str:
    """An identifier in the provider's look, from the request's number."""
    return prefix + hashlib.sha256(f"{number}:{salt}:{prefix}".encode()).hexdigest()[:24]
