"""What a provider file says about the API it serves.

A surface is a list of what is allowed: a method and a path template lead to an operation, and
whatever is not on the list does not exist here. Routes that make keys or secrets are on no list.

Protects: against reaching a provider's administrative routes with a credential that could use
    them, whatever the caller puts into the path.
Does not protect: against what an allowed operation does at the provider.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

from keylease.contracts.catalogue import WireFormat
from keylease.errors import KeyleaseError
from keylease.strongroom.gateway.call.bodies import References

OBJECT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What an identifier in a path may look like. No dots, so that no segment is ``..``."""
MODEL_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,255}")


class BodyKind(Enum):
    """How a request's body is handled."""

    NONE = "none"
    JSON = "json"
    """Kept until it is whole, checked, and written anew only where something must change."""
    FORM = "form"
    """multipart/form-data that names a model; kept until it is whole."""
    UPLOAD = "upload"
    """multipart/form-data with a file; streams through and is looked at as it passes."""


class ObjectRole(Enum):
    """What an operation has to do with objects that the provider keeps."""

    NONE = "none"
    CREATES = "creates"
    USES = "uses"
    LISTS = "lists"


class TellsOfBatch(Enum):
    """What an answer says about a batch that was started earlier."""

    NOTHING = "nothing"
    STATE = "state"
    """The batch itself."""
    RESULTS = "results"
    """One line for each of its requests; so does a file, if it is that of a batch's results."""
    RESPONSE = "response"
    """A response, which may have gone on in the background like a batch."""


class Operation:
    """One allowed method and path."""

    __slots__ = (
        "any_model", "batch", "body", "default_model", "learns", "links", "local", "method", "name",
        "query",
        "recorded_path", "reports_usage", "role", "spends", "stored_by_default", "tells_of",
        "template",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - one entry of a table, by keyword
        self,
        *,
        name: str,
        method: str,
        template: str,
        body: BodyKind = BodyKind.NONE,
        role: ObjectRole = ObjectRole.NONE,
        default_model: str = "",
        query: frozenset[str] = frozenset(),
        stored_by_default: bool = False,
        learns: tuple[str, ...] = (),
        reports_usage: bool = False,
        any_model: bool = False,
        batch: bool = False,
        local: bool = False,
        free: bool = False,
        tells_of: TellsOfBatch = TellsOfBatch.NOTHING,
        links: bool = False,
    ) -> None:
        """``free``: it costs nothing although it has a body."""
        self.name: Final = name
        """As ``gen_ai.operation.name`` has it, where it has a name."""
        self.method: Final = method
        self.template: Final = template
        """Below the API's root, with ``{id}`` for an identifier: what is sent."""
        self.body: Final = body
        self.role: Final = role
        self.default_model: Final = default_model
        """The model the provider takes when the request names none; empty: it must name one."""
        self.query: Final = query
        """Names of query parameters that may be passed on."""
        self.stored_by_default: Final = stored_by_default
        """The answer is kept by the provider unless the body says ``store: false``."""
        self.learns: Final = learns
        """Members of the answer that name objects which then belong to the caller."""
        self.reports_usage: Final = reports_usage
        """The answer says how many tokens were used."""
        self.any_model: Final = any_model
        """The request names a file whose lines name the models that the provider will run."""
        self.batch: Final = batch
        """The body holds many requests, each with a model."""
        self.local: Final = local
        """Answered here; nothing is sent to a provider."""
        self.tells_of: Final = tells_of
        self.links: Final = links
        """The answer says at which URL of the provider something is."""
        self.spends: Final = body in (BodyKind.JSON, BodyKind.FORM) and not free
        """A call uses tokens or money."""
        self.recorded_path: Final = template if template.startswith("/v1/") else "/v1" + template
        """The template as clients know it."""


class Match:
    """A path that is on a surface's list."""

    __slots__ = ("methods", "object_id")

    def __init__(self, methods: Mapping[str, Operation], object_id: str = "") -> None:
        self.methods: Final = methods
        self.object_id: Final = object_id


class Surface:
    """The allow-list of one wire format."""

    def __init__(
        self,
        *,
        wire_format: WireFormat,
        operations: tuple[Operation, ...],
        references: frozenset[str],
        ask_for_usage: frozenset[str],
        error_body: Callable[[KeyleaseError, str], bytes],
    ) -> None:
        """Index ``operations``.

        Args:
            wire_format: the format served.
            operations: everything that is allowed.
            references: members of a request body, at any depth, that name stored objects.
            ask_for_usage: names of operations that report a stream's usage only when asked.
            error_body: renders one of our errors, with the request id, as the provider would.
        """
        self.wire_format = wire_format
        self.operations = operations
        self.references = References(references)
        self.ask_for_usage = ask_for_usage
        self.error_body = error_body
        self._exact: dict[str, Match] = {}
        self._templates: list[tuple[list[str], Match]] = []
        by_template: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            by_template.setdefault(operation.template, {})[operation.method] = operation
        for template, methods in by_template.items():
            if "{" in template:
                self._templates.append((template.split("/"), Match(methods)))
            else:
                self._exact[template] = Match(methods)

    def exact_paths(self) -> Mapping[str, Match]:
        """Every template without an identifier."""
        return self._exact

    def match(self, tail: str) -> Match | None:
        """Find ``tail``, the path below the API's root as it was received; nothing is decoded."""
        if (found := self._exact.get(tail)) is not None:
            return found
        segments = tail.split("/")
        for template, match in self._templates:
            if template[-1] == "{model}":
                rest = "/".join(segments[len(template) - 1 :])
                if segments[: len(template) - 1] == template[:-1] and _is_model(rest):
                    return Match(match.methods, _decoded_model(rest))
                continue
            if len(template) != len(segments):
                continue
            object_id = ""
            for expected, got in zip(template, segments, strict=True):
                if expected == "{id}":
                    if not OBJECT_ID.fullmatch(got):
                        break
                    object_id = got
                elif expected != got:
                    break
            else:
                return Match(match.methods, object_id)
        return None


def _decoded_model(text: str) -> str:
    for encoded, plain in (("%2F", "/"), ("%2f", "/"), ("%3A", ":"), ("%3a", ":"), ("%40", "@")):
        text = text.replace(encoded, plain)
    return text


def _is_model(text: str) -> bool:
    return MODEL_ID.fullmatch(_decoded_model(text)) is not None
