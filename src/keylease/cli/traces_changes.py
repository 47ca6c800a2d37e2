"""`keylease traces annotate|delete|settings`: what changes spans, and what is kept of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from keylease.cli import output
from keylease.cli.options import ApiKeyFile, Server
from keylease.cli.platform_connection import PlatformConnection, connected
from keylease.cli.policy_things import AsJson
from keylease.cli.traces_asking import Project, base, part
from keylease.cli.traces_showing import TraceId
from keylease.cli.traces_words import money
from keylease.errors import SettingsInvalid
from keylease.primitives.files import read_bounded
from keylease.strongroom.config_files.values import parse_money

_LARGEST_FILE: Final = 1024 * 1024
_ROOT_IN: Final = 5_000
"""Spans among which the root is looked for; they come in the order in which they began."""


def annotate(  # noqa: PLR0913 - one parameter per option of the command
    trace: TraceId,
    span: Annotated[
        str, typer.Argument(metavar="[SPAN]", help="One span of it; by default the root.")
    ] = "",
    *,
    score: Annotated[
        list[str],
        typer.Option(
            "--score",
            metavar="NAME=NUMBER",
            help="A score; NAME= removes it.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer reads it, nobody changes it
    tag: Annotated[
        list[str],
        typer.Option(
            "--tag",
            metavar="TAG",
            help='A tag; together they replace all tags, "" for none.',
            show_default=False,
        ),
    ] = [],  # noqa: B006 - as above
    metadata: Annotated[
        list[str],
        typer.Option(
            "--metadata",
            metavar="NAME=JSON",
            help="A member; NAME= removes it. What is no JSON is a text.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - as above
    expected: Annotated[
        str | None,
        typer.Option(
            "--expected", metavar="JSON", help="What would have been right.", show_default=False
        ),
    ] = None,
    comment: Annotated[
        str, typer.Option("--comment", metavar="TEXT", help="Words.", show_default=False)
    ] = "",
    if_version: Annotated[
        str,
        typer.Option(
            "--if-version",
            metavar="TRANSACTION",
            help="Only if the span is still in this state.",
            show_default=False,
        ),
    ] = "",
    project: Project = "",
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Say something about a span; it is merged into what was said before."""
    body: dict[str, object] = {}
    if score:
        body["scores"] = {name: _number(value) for name, value in map(_pair, score)}
    if tag:
        body["tags"] = [one for one in tag if one]
    if metadata:
        body["metadata"] = {name: _json(value) for name, value in map(_pair, metadata)}
    if expected is not None:
        body["expected"] = _json(expected)
    if comment:
        body["comment"] = comment
    if not body:
        raise SettingsInvalid(
            "Nothing is said.", advice="Give --score, --tag, --metadata, --expected or --comment."
        )
    with connected(server, api_key_file) as api:
        path = f"{base(api, project)}/traces/{part(trace)}"
        span = span or _root(api, path)
        version = f'"{if_version}"' if if_version else ""
        answer = api.ask("PATCH", f"{path}/spans/{part(span)}", body=body, version=version)
    if as_json:
        output.emit_json(answer.body)
    else:
        output.say(f"Done; transaction {answer.body['xact_id']}.")


def _root(api: PlatformConnection, path: str) -> str:
    tree = api.ask("GET", path, query={"limit": _ROOT_IN}).body
    name, parent = (tree["columns"].index(column) for column in ("span_id", "parent_span_id"))
    for row in tree["rows"]:
        if not row[parent]:
            return str(row[name])
    raise SettingsInvalid(
        "The root of this trace is not there.", advice="Name the SPAN; `show` lists them."
    )


def delete(  # noqa: PLR0913 - one parameter per option of the command
    trace: Annotated[str, typer.Argument(metavar="[TRACE]", help="The trace; 32 hex digits.")] = "",
    span: Annotated[
        str, typer.Argument(metavar="[SPAN]", help="Only this span of the trace.")
    ] = "",
    *,
    user: Annotated[
        str,
        typer.Option(
            "--user",
            metavar="USER",
            help="All traces of this user, as spans name the user.",
            show_default=False,
        ),
    ] = "",
    everything: Annotated[
        bool, typer.Option("--everything", help="Every trace of the project.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    project: Project = "",
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Remove a trace, a span, a user's traces or all of a project for good.

    Old back-ups keep them.
    """
    if [bool(trace), bool(user), everything].count(True) != 1:
        raise SettingsInvalid("Name a TRACE, or a --user, or say --everything.")
    what = f"the span {span}" if span else "the trace"
    if user:
        what = f"every trace of the user {user}"
    if everything:
        what = f"every trace of the project {project}" if project else "every trace of the project"
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsInvalid(
                "Removing for good needs a confirmation, and there is nobody to ask.",
                advice="Add --yes.",
            )
        typer.confirm(f"Remove {output.printable(what)} for good?", abort=True, err=True)
    with connected(server, api_key_file, seconds=300) as api:
        path = f"{base(api, project)}/traces"
        if everything:
            api.ask("DELETE", path, query={"everything": True})
        elif user:
            api.ask("DELETE", path, query={"user_id": user})
        else:
            below = f"/spans/{part(span)}" if span else ""
            api.ask("DELETE", f"{path}/{part(trace)}{below}")
    output.say("It is removed.")


def settings(  # noqa: PLR0913 - one parameter per option of the command
    *,
    retention: Annotated[
        str,
        typer.Option(
            "--retention",
            metavar="DAYS",
            help="Remove spans so many days after they began; `forever` keeps them.",
            show_default=False,
        ),
    ] = "",
    mask: Annotated[
        list[str],
        typer.Option(
            "--mask",
            metavar="KIND",
            help="Take out email, phone, iban, card, ip_address, us_ssn; together they replace "
            'what was asked for before, "" for nothing.',
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer reads it, nobody changes it
    mask_own: Annotated[
        list[str],
        typer.Option(
            "--mask-own",
            metavar="NAME=EXPRESSION",
            help='Take out what an expression matches; together they replace all, "" for none.',
            show_default=False,
        ),
    ] = [],  # noqa: B006 - as above
    price: Annotated[
        list[str],
        typer.Option(
            "--price",
            metavar="MODEL=IN/OUT",
            help="USD for a million tokens in and out, with * in the model; together they replace "
            'all, "" for none.',
            show_default=False,
        ),
    ] = [],  # noqa: B006 - as above
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="All of it as JSON, as `--json` shows it under `wishes`.",
            show_default=False,
        ),
    ] = None,
    project: Project = "",
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show or change how long spans are kept, what is taken out of them, what models cost."""
    changes: dict[str, Any] = {}
    if retention:
        changes["retention_days"] = _days(retention)
    if price:
        changes["prices"] = [_price(one) for one in price if one]
    personal: dict[str, Any] = {}
    if mask:
        personal["kinds"] = [one for one in mask if one]
    if mask_own:
        own = [_pair(one) for one in mask_own if one]
        personal["own"] = [{"name": name, "expression": text} for name, text in own]
    with connected(server, api_key_file) as api:
        path = f"{base(api, project)}/trace-settings"
        answer = api.ask("GET", path)
        wishes = answer.body["wishes"]
        new = _read(file) if file is not None else {**wishes, **changes}
        if personal:
            new["personal_data"] = {**wishes["personal_data"], **personal}
        if new != wishes:
            answer = api.ask("PUT", path, body=new, version=answer.version)
    if as_json:
        output.emit_json(answer.body)
    else:
        _show(answer.body["wishes"])


def _show(wishes: dict[str, Any]) -> None:
    days = wishes["retention_days"]
    personal = wishes["personal_data"]
    rows: list[tuple[str, object]] = [
        ("kept for", "ever" if days is None else output.counted(days, "day")),
        ("taken out", ", ".join(personal["kinds"]) or "secrets only"),
        *(("taken out", f"{own['name']}: {own['expression']}") for own in personal["own"]),
    ]
    for one in wishes["prices"]:
        whose = f"{one['provider']} " if one.get("provider") else ""
        amounts = f"{money(one['input'])} in, {money(one['output'])} out"
        rows.append(("price", f"{whose}{one['model']}: {amounts} for a million tokens"))
    output.emit_table(("MEMBER", "VALUE"), rows)


def _days(text: str) -> int | None:
    if text == "forever":
        return None
    try:
        return int(text.removesuffix("d"))
    except ValueError:
        raise SettingsInvalid(
            "--retention is a number of days, or `forever`.", advice="Such as --retention 30."
        ) from None


def _price(text: str) -> dict[str, object]:
    model, amounts = _pair(text)
    went_in, _, came_out = amounts.partition("/")
    try:
        both = parse_money(went_in), parse_money(came_out)
    except ValueError:
        raise SettingsInvalid(
            f"{text!r} is no price.", advice="Such as --price 'our-model*=0.15/0.60'."
        ) from None
    return {"model": model, "input": both[0], "output": both[1]}


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise SettingsInvalid(f"{text!r} has no name and value.", advice="Write NAME=VALUE.")
    return name, value


def _number(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise SettingsInvalid(f"{text!r} is no number.") from None


def _json(text: str) -> object:
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _read(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(read_bounded(file, maximum=_LARGEST_FILE), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsInvalid(f"{file} cannot be read as JSON.") from error
