"""What a request's body says, as far as the gateway decides by it.

Protects: against a body that two readers would understand in two ways (duplicate members, an
    encoding, bytes that are no UTF-8, NaN, ambiguous multipart parts), so that the model that was
    allowed is the model that is used.
Does not protect: against anything in members that no decision depends on.
Limits: duplicate members are looked for at the top level, and in every object where stored objects
    may be named; nesting is bounded by the decoder's own limit. Names that differ from a deciding
    one only by case are refused at the top level, because some servers do not tell them apart.
"""

from __future__ import annotations

import json
import re
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
_CONTAINERS: Final = frozenset({dict, list})
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
        if self.names is None and _is_doubled(data):
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
        return tuple(dict.fromkeys(found))

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
    left = [value for value in members.values() if type(value) in _CONTAINERS]
    for value in left:
        items: Iterable[object]
        if type(value) is dict:
            names.update(value)
            count += len(value)
            items = value.values()
        else:
            items = value  # type: ignore[assignment]  # _CONTAINERS holds no third type
        left += [item for item in items if type(item) in _CONTAINERS]
    if data.count(b":") == count:
        return names
    before = data.split(b":")[:-1]
    return names if len([p for p in before if p[-1:] in _BEFORE_COLON]) == count else None


def _is_doubled(data: bytes) -> bool:
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
        if name.isascii() and name.islower():
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


_BOUNDARY: Final = re.compile(
    r"multipart/form-data\s*;\s*boundary="
    r"(?:\"([0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-])\"|([0-9A-Za-z'+_.-]{1,70}))"
    r"\s*(?:;\s*charset=[\w-]+\s*)?",
    re.IGNORECASE,
)
"""RFC 2046 section 5.1.1: no space at the end, which some readers cut off. Without quotes a token:
some readers stop at what is none."""
_DISPOSITION: Final = re.compile(
    rb'form-data; *name="([^"\\\r\n]{1,128})"((?:; *filename="[^"\\\r\n]*")?'
    rb"(?:; *filename\*=[Uu][Tt][Ff]-8''[^\s;\"]*)?)",
)
_NUMBER: Final = re.compile(r"[0-9]{1,4}")
_FIELDS: Final = (b"model", b"stream", b"n")
"""Fields that are looked at."""


class FormBody:
    """A multipart form of which three fields matter: ``model``, ``stream`` and ``n``.

    Every part must have the plain form that HTTP clients write, so that no other reader of the
    same bytes finds another model in it.
    """

    __slots__ = ("_boundary", "_model_span", "choices", "data", "model", "streamed")

    def __init__(self, data: bytes, content_type: str) -> None:
        """Check ``data``; raises ``RequestMalformed``."""
        boundary = form_boundary(content_type)
        self.data = data
        self.model = ""
        self.streamed = False
        self.choices: int | None = None
        """The field ``n``: how many answers are asked for."""
        self._boundary = boundary
        self._model_span: tuple[int, int] | None = None
        seen: set[bytes] = set()
        for name, start, end in _parts(data, boundary):
            if name in _FIELDS:
                if name in seen:
                    raise RequestMalformed(f"The form has two fields '{name.decode()}'.")
                text = _form_text(data[start:end])
                if name == b"model":
                    self._model_span = (start, end)
                    self.model = text
                elif name == b"stream":
                    self.streamed = text.lower() in ("true", "1")
                else:
                    self.choices = _form_number(text)
            elif name.strip().lower().removesuffix(b"[]") in _FIELDS:
                raise RequestMalformed("A field of the form has an ambiguous name.")
            seen.add(name)

    def rewritten(self, *, model: str) -> bytes:
        """The form with another model."""
        if not model or model == self.model:
            return self.data
        if self._model_span is None:
            part = b'--%b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n' % (
                self._boundary,
                model.encode(),
            )
            return part + self.data
        start, end = self._model_span
        return self.data[:start] + model.encode() + self.data[end:]


def form_boundary(content_type: str) -> bytes:
    """The boundary of a multipart form; refuses content types that could be read in two ways."""
    found = _BOUNDARY.fullmatch(content_type.strip())
    if found is None:
        raise RequestMalformed("The Content-Type is no multipart/form-data with a boundary.")
    return (found[1] or found[2]).encode()


def _form_text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise RequestMalformed("A field of the form is not UTF-8.") from error
    if not text or len(text) > 256 or not text.isprintable():  # noqa: PLR2004 - no provider has longer names
        raise RequestMalformed("A field of the form is empty or too long.")
    return text


def _form_number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise RequestMalformed("The field 'n' of the form is no small number.")
    return int(text)


def _parts(data: bytes, boundary: bytes) -> list[tuple[bytes, int, int]]:
    """Name, start and end of every part's content (RFC 7578, RFC 2046 section 5.1.1)."""
    delimiter = b"\r\n--" + boundary
    if not data.startswith(delimiter[2:]):
        raise RequestMalformed("The form does not begin with its boundary.")
    parts: list[tuple[bytes, int, int]] = []
    position = len(delimiter) - 2
    while True:
        if data.startswith(b"--", position):
            if data[position + 2 :].strip(b"\r\n"):
                raise RequestMalformed("There is something behind the end of the form.")
            return parts
        head_end = data.find(b"\r\n\r\n", position)
        if not data.startswith(b"\r\n", position) or head_end < 0:
            raise RequestMalformed("The form's parts are not well formed.")
        name = _part_name(data[position + 2 : head_end])
        start = head_end + 4
        end = data.find(delimiter, start)
        if end < 0:
            raise RequestMalformed("The form does not end with its boundary.")
        parts.append((name, start, end))
        position = end + len(delimiter)


def _part_name(head: bytes) -> bytes:
    name: bytes | None = None
    for line in head.split(b"\r\n"):
        key, colon, value = line.partition(b":")
        lowered = key.lower()
        if not colon or b"\n" in line or b"\r" in line or b"\0" in line:
            raise RequestMalformed("A header of a part of the form is not well formed.")
        if lowered == b"content-disposition":
            found = _DISPOSITION.fullmatch(value.strip())
            if found is None or name is not None:
                raise RequestMalformed("A part of the form has no plain Content-Disposition.")
            name = found[1]
            if found[2] and name in _FIELDS:
                raise RequestMalformed(f"The field '{name.decode()}' of the form is a file.")
        elif lowered == b"content-transfer-encoding":
            if value.strip().lower() not in (b"binary", b"8bit", b"7bit"):
                raise RequestMalformed("A part of the form is encoded.")
        elif lowered not in (b"content-type", b"content-length"):
            raise RequestMalformed("A part of the form has a header that is not expected.")
    if name is None:
        raise RequestMalformed("A part of the form has no name.")
    return name
