"""A preview as text for people, and as CSV for their lists."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

from keylease.cli import output
from keylease.cli.inventory_words import (
    believed_words,
    consumer_words,
    day,
    live_words,
    minute,
    place_words,
    secret_words,
)
from keylease.primitives.cells import harmless

Json = Mapping[str, Any]
_WIDTH: Final = 12
_USES: Final = {"seen_using": "used by", "holds_value": "held by", "named": "named by"}
COLUMNS: Final = (
    "secret_id", "provider", "kind", "masked", "owner", "works", "evidence", "where", "source",
    "path", "line", "name", "first_seen", "last_seen", "removed_at", "consumers", "can",
    "minutes_for_secret", "consumers_holding", "consumers_named",
)  # fmt: skip


def preview_lines(preview: Json) -> Iterator[str]:
    """What somebody at 6:12 a.m. has to know, in the order in which they ask."""
    subject = preview["subject"]
    affected = preview["affected"]
    yield f"If {subject['kind']} {subject['name']} was breached (seen {_when(preview)}):"
    owners = output.counted(len(preview["owners"]), "owner")
    yield (
        f"{output.counted(len(affected), 'secret')} of {owners}, about "
        f"{output.counted(preview['minutes'], 'minute')} to rotate ({preview['minutes_are']})."
    )
    for number, one in enumerate(affected, start=1):
        yield ""
        yield from _affected(number, one)
    names = preview["names_without_value"]
    if names:
        yield ""
        yield "Names there, whose values nobody has seen:"
        for place in names:
            shown = place["location"].get("preview")
            ending = f", shown as {shown}" if shown else ""
            yield f"  {place_words(place)}{ending}"
    if preview["owners"]:
        yield ""
        yield "By owner (--owner NAME shows and exports one part):"
        for part in preview["owners"]:
            secrets = output.counted(part["secrets"], "secret")
            yield f"  {part['owner']}: {secrets}, {part['minutes']} minutes"
    yield ""
    yield "Not known:" if preview["unknown"] else "Nothing is known to be missing."
    for gap in preview["unknown"]:
        yield f"  - {gap}"


def _when(preview: Json) -> str:
    subject = preview["subject"]
    since, until = minute(subject["since"]), minute(subject["until"])
    between = f", between {since or 'the beginning'} and {until or 'now'}" if since or until else ""
    return f"{minute(preview['made_at'])} UTC{between}"


def _affected(number: int, one: Json) -> Iterator[str]:
    secret, rotation = one["secret"], one["rotation"]
    yield f"{number}. {secret_words(secret)}, {live_words(secret['live'])}, risk {secret['risk']}"
    if one["evidence"]:
        yield _line("believed", one["evidence"])
    yield _line("owner", secret["owner"] or "nobody")
    for place in one["there"]:
        yield _line("there", f"{place_words(place)}, since {day(place['first_seen'])}")
    for place in one["elsewhere"]:
        yield _line("elsewhere", place_words(place))
    for believed in secret["believed_places"]:
        yield _line("perhaps in", believed_words(believed))
    for user in one["consumers"]:
        yield _line(_USES[user["known_by"]], consumer_words(user))
    if not one["consumers"]:
        yield _line("used by", "not known")
    yield _line("can", "; ".join(one["can"]))
    minted = "by program" if rotation["minted_by_api"] else "by hand"
    places = output.counted(rotation["places_to_change"], "place")
    yield _line("rotate", f"{rotation['minutes']} minutes: a new key {minted}, {places} to change")


def _line(word: str, text: str) -> str:
    return f"   {word.ljust(_WIDTH)}{text}"


def preview_csv(preview: Json) -> str:
    """A line for each place of each affected secret, and for each name (RFC 4180)."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for row in _rows(preview):
        writer.writerow({column: harmless(cell) for column, cell in row.items()})
    return out.getvalue()


def _rows(preview: Json) -> Iterator[dict[str, object]]:
    for one in preview["affected"]:
        secret = one["secret"]
        about = {
            "secret_id": secret["id"],
            "provider": secret["provider"],
            "kind": secret["kind"],
            "masked": secret["masked"],
            "owner": secret["owner"],
            "works": live_words(secret["live"]),
            "evidence": one["evidence"],
            "consumers": " ".join(_users(one, "seen_using")),
            "can": "; ".join(one["can"]),
            "minutes_for_secret": one["rotation"]["minutes"],
            "consumers_holding": "\n".join(_users(one, "holds_value")),
            "consumers_named": "\n".join(_users(one, "named")),
        }
        for where in ("there", "elsewhere"):
            for place in one[where]:
                yield about | {"where": where} | _of_place(place)
    for place in preview["names_without_value"]:
        yield {"evidence": "a name without a value", "where": "there"} | _of_place(place)


def _users(one: Json, known_by: str) -> list[str]:
    found = [user for user in one["consumers"] if user["known_by"] == known_by]
    return list(dict.fromkeys(user["principal"] or consumer_words(user) for user in found))


def _of_place(place: Json) -> dict[str, object]:
    location = place["location"]
    return {
        "source": place["source"],
        "path": location["path"],
        "line": location.get("line"),
        "name": location.get("name"),
        "first_seen": minute(place["first_seen"]),
        "last_seen": minute(place["last_seen"]),
        "removed_at": minute(place["removed_at"]),
    }
