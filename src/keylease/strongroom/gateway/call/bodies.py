"""What a request's body says, as far as the gateway decides by it.

Protects: against a body that two readers would understand in two ways (duplicate members, an
    encoding, bytes that are no UTF-8, NaN), so that the model that was allowed is the model that is
    used. Forms are read in ``forms``.
Does not protect: against anything in members that no decision depends on.
Limits: duplicate members are looked for at the top level, and in every object where stored objects
    may be named; nesting is bounded by the decoder's own limit. Names that differ from a deciding
    one only by case are refused at the top level, because some servers do not tell them apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

import msgspec

from keylease.errors import RequestMalformed
from keylease.primitives.http1.interfaces import RequestHead

_RAW_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BATCH_REQUESTS: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_ANYTHING: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()
_INCLUDE_USAGE: Final = "include_usage"
_ASKING_FOR_USAGE: Final = b',"stream_options":{"include_usage":true}}'
"""The end of an object whose other members stand before it."""
_BYTES_PER_SEARCH: Final = 512
"""From so many bytes for each colon on, one search costs less than counting."""
_BEFORE_COLON: Final = frozenset({b'"', b" ", b"\n", b"\t", b"\r"})
"""What can stand in front of a colon that is not part of a string."""
_DECIDING: Final = frozenset(
    {
        "background", "best_of", "conversation", "fallback_models", "fallbacks", "input",
        "max_completion_tokens", "max_output_tokens", "max_tokens", "messages", "model", "models",
        "n", "plugins", "preset", "previous_response_id", "prompt", "requests", "store", "stream",
        "stream_options", "tools",
    }
)  # fmt: skip
"""Members of a request that the gateway decides by."""
_OTHER_MODELS: Final = ("models", "fallbacks", "fallback_models", "preset")
"""Members by which some providers choose among models that ``model`` does not name."""
_CHOOSING: Final = frozenset({*_OTHER_MODELS, "plugins", "tools"})
_WHERE_OBJECTS_ARE_FREE: Final = frozenset({"metadata"})
"""Members whose content is the caller's own and means nothing to the provider."""


class References:
    """Members of a request body that name stored objects."""

    __slots__ = ("hints", "members")

    def __init__(self, members: frozenset[str]) -> None:
        self.members = members
        shortest = {name for name in members if not any(o != name and o in name for o in members)}
        self.hints = (b"\\u", *(name.encode() for name in shortest))
        """Nothing is named in a body that contains none of these bytes."""


class JsonBody:
    """A checked JSON object and the bytes that will be sent."""

    __slots__ = ("_raw", "data", "members", "names")

    def __init__(self, data: bytes) -> None:
        """Check ``data``; raises ``RequestMalformed``."""
        try:
            members = _ANYTHING.decode(data)
        except UnicodeDecodeError as error:
            raise RequestMalformed("The request body is not UTF-8.") from error
        except RecursionError as error:
            raise RequestMalformed("The request body is nested too deeply.") from error
        except msgspec.ValidationError as error:
            raise RequestMalformed("A number in the request body is out of range.") from error
        except msgspec.DecodeError as error:
            raise RequestMalformed("The request body is not valid JSON.") from error
        if type(members) is not dict:
            raise RequestMalformed("The request body is not a JSON object.")
        self.data = data
        self.members: dict[str, object] = members
        self._raw: dict[str, msgspec.Raw] | None = None
        _refuse_lookalikes(members)
        self.names = _names_of(members, data)
        """The names of all members at any depth; ``None`` where one may hide behind another."""
        if self.names is None and is_doubled(data):
            raise RequestMalformed(
                "A member of the request body was sent twice.",
                advice="Send every member of the JSON object once.",
            )

    def raw(self) -> dict[str, msgspec.Raw]:
        """The members at the top level as they were sent."""
        if self._raw is None:
            self._raw = _RAW_MEMBERS.decode(self.data)
        return self._raw

    @property
    def model(self) -> str:
        """The model asked for; empty when the body names none."""
        model = self.members.get("model")
        if model is None:
            return ""
        if not isinstance(model, str) or not model or len(model) > 256 or not model.isprintable():  # noqa: PLR2004 - no provider has longer names
            raise RequestMalformed("The member 'model' is not the name of a model.")
        return model

    def further_models(self) -> tuple[str, ...]:
        """Models that tools name, each once; ``RequestMalformed`` when others could be chosen."""
        return _further_models(self.members)

    @property
    def streamed(self) -> bool:
        """Whether the caller asked for server-sent events."""
        return self.members.get("stream") is True

    @property
    def asks_for_usage(self) -> bool:
        """Whether a streaming caller asked for the usage chunk itself."""
        options = self.members.get("stream_options")
        return isinstance(options, dict) and options.get(_INCLUDE_USAGE) is True

    def rewritten(self, *, model: str = "", include_usage: bool = False) -> bytes:
        """The body with other members at the top level; every other byte of a value is kept."""
        if not model and not include_usage:
            return self.data
        if not model and "stream_options" not in self.members:
            return self.data.rstrip()[:-1] + _ASKING_FOR_USAGE
        raw: dict[str, object] = dict(self.raw())
        if model:
            raw["model"] = model
        if include_usage:
            options = self.members.get("stream_options")
            merged = dict(options) if isinstance(options, dict) else {}
            merged[_INCLUDE_USAGE] = True
            raw["stream_options"] = merged
        return _ENCODER.encode(raw)

    def with_models(self, renamed: dict[str, str]) -> bytes:
        """A batch's body with the models of its requests renamed."""
        if all(old == new for old, new in renamed.items()):
            return self.data
        requests = _BATCH_REQUESTS.decode(self.raw()["requests"])
        for request in requests:
            parameters: dict[str, object] = dict(_RAW_MEMBERS.decode(request["params"]))
            model = msgspec.json.decode(parameters["model"], type=str)  # type: ignore[call-overload]  # a Raw, checked by batch_models
            parameters["model"] = renamed[model]
            request["params"] = msgspec.Raw(_ENCODER.encode(parameters))
        return _ENCODER.encode({**self.raw(), "requests": requests})

    def batch_models(self) -> tuple[str, ...]:
        """The models that the requests of an Anthropic batch name, each once."""
        requests = self.members.get("requests")
        found: dict[str, None] = {}
        if isinstance(requests, list):
            for request in requests:
                parameters = request.get("params") if isinstance(request, dict) else None
                model = parameters.get("model") if isinstance(parameters, dict) else None
                if not isinstance(model, str) or not model or not isinstance(parameters, dict):
                    raise RequestMalformed("A request of the batch names no model.")
                _refuse_lookalikes(parameters)
                found[model] = None
                found.update(dict.fromkeys(_further_models(parameters)))
        if not found:
            raise RequestMalformed("The batch holds no requests.")
        # Members below the top level decide here, so none of them may be there twice.
        self._walk(frozenset())
        return tuple(found)

    def objects(self, references: References, *, items: bool) -> tuple[str, ...]:
        """Identifiers of stored objects that the body names, at any depth.

        ``items`` also looks for earlier output items that ``input`` refers to (the Responses API).
        """
        found: list[str] = []
        if self._may_name(references):
            found += self._walk(references.members)
        elif items and self.names is None:
            self._walk(frozenset())  # an item may hide behind another
        prompt = self.members.get("prompt")  # an object is a stored prompt; otherwise it is text
        if type(prompt) is dict:
            found += self._walk(frozenset({"prompt"}))
        if items:
            found += _items(self.members.get("input"))
        return tuple(dict.fromkeys(found)) if found else ()

    def _may_name(self, references: References) -> bool:
        """Whether it is worth to look closely."""
        if self.names is None:
            return any(hint in self.data for hint in references.hints)
        return not references.members.isdisjoint(self.names)

    def _walk(self, references: frozenset[str]) -> list[str]:
        """Collect what ``references`` name; refuses an object with a member that was sent twice."""
        found: list[str] = []

        def visit(pairs: list[tuple[str, object]]) -> dict[str, object]:
            members = dict(pairs)
            if len(members) != len(pairs):
                raise RequestMalformed("A member of an object in the request body was sent twice.")
            for key, value in pairs:
                if key in references:
                    found.extend(_identifiers(value, whole=key != "prompt"))
            return members

        try:
            top = [
                (key, json.loads(bytes(raw), object_pairs_hook=visit))
                for key, raw in self.raw().items()
                if key not in _WHERE_OBJECTS_ARE_FREE
            ]
        except RecursionError as error:
            raise RequestMalformed("The request body is nested too deeply.") from error
        visit(top)
        return found


def _names_of(members: dict[str, object], data: bytes) -> set[str] | None:
    """The names of all members, unless one may have been sent twice, at whatever depth.

    A decoder keeps one of two members with the same name, and every member in the text has a colon
    outside of strings: right behind the quote that ends its name, or behind white space. So where
    the members that are left are as many as such colons, none was lost. Colons in strings may make
    the answer ``None``, never wrong.
    """
    names = set(members)
    count = len(members)
    left = _containers(members.values())
    for value in left:
        items: Iterable[object]
        if isinstance(value, dict):
            names.update(value)
            count += len(value)
            items = value.values()
        else:
            items = value
        left += _containers(items)
    if _has_colons(data, count):
        return names
    before = data.split(b":")[:-1]
    return names if len([p for p in before if p[-1:] in _BEFORE_COLON]) == count else None


def _containers(values: Iterable[object]) -> list[dict[str, object] | list[object]]:
    return [value for value in values if isinstance(value, (dict, list))]


def _has_colons(data: bytes, count: int) -> bool:
    """Whether a text has just so many colons.

    Where there are few in much text, looking for the next one is ten times as fast as counting.
    """
    if len(data) < count * _BYTES_PER_SEARCH:
        return data.count(b":") == count
    position = data.find(b":")
    while position >= 0 and count > 0:
        count -= 1
        position = data.find(b":", position + 1)
    return position < 0 and count == 0


def is_doubled(data: bytes) -> bool:
    """Whether a member was sent twice at the top level."""
    top: list[tuple[str, object]] = []

    def remember(pairs: list[tuple[str, object]]) -> None:
        top[:] = pairs  # the outermost object is the last to be complete

    try:
        json.loads(data, object_pairs_hook=remember)
    except RecursionError as error:
        raise RequestMalformed("The request body is nested too deeply.") from error
    return len({key for key, _ in top}) != len(top)


def _refuse_lookalikes(members: dict[str, object]) -> None:
    """Refuse ``Model`` and the like: servers that ignore case would take it for ``model``."""
    for name in members:
        if name in _DECIDING or (name.isascii() and name.islower()):
            continue
        folded = name.casefold()
        if folded != name and folded in _DECIDING:
            raise RequestMalformed(
                f"A member of the request body differs from '{folded}' only by case.",
                advice="Write the names of members as the provider documents them.",
            )


def _further_models(members: dict[str, object]) -> tuple[str, ...]:
    if _CHOOSING.isdisjoint(members):
        return ()
    for name in _OTHER_MODELS:
        if members.get(name):
            raise RequestMalformed(
                f"The member '{name}' would let the provider choose another model.",
                advice="Name one model; the routes of the policy can have several targets.",
            )
    found: dict[str, None] = {}
    for name in ("tools", "plugins"):
        entries = members.get(name)
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict):
                continue
            for key, value in entry.items():
                if key == "model" or key.endswith("models"):
                    found.update(dict.fromkeys(_model_names(value)))
    return tuple(found)


def _model_names(value: object) -> list[str]:
    names = value if isinstance(value, list) else [value]
    return [name for name in names if isinstance(name, str) and name]


def _identifiers(value: object, *, whole: bool) -> list[str]:
    if isinstance(value, str):
        return [value] if whole else []
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str)] if whole else []
    if isinstance(value, dict) and isinstance(value.get("id"), str):
        return [value["id"]]
    return []


def _items(value: object) -> list[str]:
    """Items of ``input`` that the provider would look up by their identifier."""
    if not isinstance(value, list):
        return []
    found = []
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            continue
        kind = item.get("type")
        if (
            kind == "item_reference"
            or (kind is None and "role" not in item)
            or (kind == "reasoning" and not item.get("encrypted_content"))
            or (kind == "image_generation_call" and not item.get("result"))
        ):
            found.append(item["id"])
    return found


def check_encoding(head: RequestHead, *, media_types: tuple[str, ...]) -> str:
    """Refuse an encoded body and one of another media type; gives the whole content type."""
    content_type = ""
    seen = 0
    for name, value in head.headers:
        if name == b"content-encoding" and value.strip().lower() != b"identity":
            raise RequestMalformed(
                "The request body is encoded.", advice="Send it without a Content-Encoding."
            )
        if name == b"content-type":
            seen += 1
            content_type = value.decode("latin-1")
    if seen > 1:
        raise RequestMalformed("The request has more than one Content-Type.")
    plain = content_type.partition(";")[0].strip().lower()
    if plain not in media_types:
        raise RequestMalformed(f"The request body is not of the type {media_types[0]}.")
    return content_type
