"""What `credential`, `route`, `grant`, `budget` and `trust-rule` have in common.

Things are named by their names here; the API knows them by identifiers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final

import typer

from keylease.cli import output
from keylease.cli.platform_connection import PlatformConnection
from keylease.errors import SettingsInvalid
from keylease.primitives.clock import isoformat
from keylease.strongroom.config_files.values import parse_duration, parse_money

AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
Purposes = Annotated[
    list[str],
    typer.Option(
        "--purpose",
        metavar="PURPOSE",
        help="production, development or eval; more than once for more.",
        show_default=False,
    ),
]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        metavar="PATTERN",
        help="A model, or a pattern with *; more than once for more.",
        show_default=False,
    ),
]
Environments = Annotated[
    list[str],
    typer.Option(
        "--environment",
        metavar="PATTERN",
        help="An environment, or a pattern with *; every one by default.",
        show_default=False,
    ),
]
_ADDED: Final = frozenset(
    {"id", "version", "draft_state", "created_at", "changed_at", "changed_by"}
    | {"store", "revoked", "age", "versions", "boundary", "reach", "audit"}
)
"""Members of answers that are not part of what is sent."""


class Things:
    """One kind of them."""

    def __init__(self, api: PlatformConnection, path: str, word: str) -> None:
        self._api = api
        self._path = path
        self._word = word

    def find(self, name: str) -> dict[str, Any]:
        """The one with this name. Raises ``SettingsInvalid``."""
        # Without a name the list would be that of all.
        for thing in self._api.pages(self._path, name=name) if name else ():
            return dict(thing)
        raise SettingsInvalid(
            f"There is no {self._word} with this name.",
            advice=f"`keylease {self._word} list` lists them.",
        )

    def all(self, **query: object) -> list[dict[str, Any]]:
        """All of them, by name."""
        return list(self._api.pages(self._path, **query))

    def add(self, body: Mapping[str, object]) -> None:
        """Add one to the draft, and say what to do next."""
        made = self._api.ask("POST", self._path, body=body).body
        output.emit(made["id"])
        _say_draft(f"The {self._word} is in the draft.")

    def change(self, name: str, changes: Mapping[str, object]) -> None:
        """Change members of one; those that are ``None`` stay."""
        given = {member: value for member, value in changes.items() if value is not None}
        if not given:
            raise SettingsInvalid("Nothing is changed.", advice="Say what, with an option.")
        thing = self.find(name)
        body = {member: value for member, value in thing.items() if member not in _ADDED} | given
        self._api.ask(
            "PUT", f"{self._path}/{thing['id']}", body=body, version=f'"{thing["version"]}"'
        )
        _say_draft(f"The {self._word} is changed in the draft.")

    def remove(self, name: str) -> None:
        """Take one out of the draft."""
        thing = self.find(name)
        self._api.ask("DELETE", f"{self._path}/{thing['id']}", version=f'"{thing["version"]}"')
        _say_draft(f"The {self._word} is taken out of the draft.")

    def show(self, name: str, *, as_json: bool, query: Mapping[str, object] | None = None) -> None:
        """Print one, member by member."""
        thing = self.find(name)
        if query:
            thing = self._api.ask("GET", f"{self._path}/{thing['id']}", query=query).body
        if as_json:
            output.emit_json(thing)
            return
        rows = [
            (member, moment(value) if member.endswith("_at") else plain(value))
            for member, value in thing.items()
        ]
        output.emit_table(("MEMBER", "VALUE"), rows)

    def history(self, name: str, *, as_json: bool) -> None:
        """Print who changed one, when and how."""
        thing = self.find(name)
        lines = list(self._api.pages(f"{self._path}/{thing['id']}/history"))
        if as_json:
            output.emit_json(lines)
            return
        output.emit_table(
            ("VERSION", "AT", "PRINCIPAL", "CHANGE", "MEMBERS"),
            [
                (
                    line["version"],
                    isoformat(line["at"]),
                    line["principal"] or None,
                    line["change"],
                    ", ".join(_changed(line["before"] or {}, line["after"] or {})) or None,
                )
                for line in lines
            ],
        )


def _changed(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    if not before or not after:
        return []
    return sorted(m for m in before.keys() | after.keys() if before.get(m) != after.get(m))


def _say_draft(text: str) -> None:
    output.say(text)
    output.hint("`keylease policy diff` shows the draft, `keylease policy publish` publishes it.")


def plain(value: object) -> object:
    """A value for people."""
    if value is None or (isinstance(value, str | list | dict) and not value):
        return None
    if isinstance(value, dict):
        return ", ".join(f"{name}: {plain(part)}" for name, part in value.items() if part)
    if isinstance(value, list):
        return ", ".join(str(plain(part)) for part in value)
    return value


def moment(value: object) -> str | None:
    """A time for people."""
    return isoformat(value) if isinstance(value, int) and value else None


def listed(values: Iterable[str]) -> list[str] | None:
    """A list that was given; ``None`` when nothing was."""
    return list(values) or None


def seconds(text: str | None) -> int | None:
    """``15m`` -> 900. Raises ``SettingsInvalid``."""
    if text is None:
        return None
    try:
        return round(parse_duration(text))
    except ValueError as error:
        raise SettingsInvalid(f"{text!r} is not {error}.") from error


def micro_usd(text: str | None) -> int | None:
    """``25.00`` -> 25000000. Raises ``SettingsInvalid``."""
    if text is None:
        return None
    try:
        return parse_money(text)
    except ValueError as error:
        raise SettingsInvalid(f"{text!r} is not {error}.") from error


def usd(amount: int | None) -> str | None:
    """25000000 -> ``25.00``."""
    if amount is None:
        return None
    exact = Decimal(amount) / 1_000_000
    return f"{exact:.2f}" if exact == exact.quantize(Decimal("0.01")) else f"{exact:f}"
