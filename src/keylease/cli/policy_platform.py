"""The commands of `keylease policy` that speak of the platform's policy, and not of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from keylease.cli import output
from keylease.cli.platform_connection import ApiKeyFile, PlatformConnection, Server, connected
from keylease.cli.policy_things import AsJson, moment, plain
from keylease.errors import SettingsInvalid

Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="Why; kept with the version.")]
Proposal = Annotated[str, typer.Argument(metavar="ID", help="The proposal.")]
_ACCEPTED = 202


def show_standing(standing: dict[str, Any]) -> None:
    """Print what the platform has published, what the draft changes, and what waits."""
    published = standing["published"]
    if published is None:
        output.emit("Nothing is published.")
    else:
        output.emit(
            f"Version {published['version']} is published since {moment(published['at'])}, by "
            f"{published['principal']}."
        )
    changes = output.counted(standing["changes"], "change")
    output.emit(f"Draft {standing['draft']}: {changes}.")
    _say_wider(standing["widenings"])
    for proposal in standing["proposals"]:
        output.emit(
            f"Proposal {proposal['id']} by {proposal['requested_by']} waits for a second "
            f"principal until {moment(proposal['expires_at'])}."
        )


def show_version(version: int, server: str, api_key_file: Path | None) -> None:
    """Print a published version, as JSON: everything by its identifier."""
    with connected(server, api_key_file) as api:
        output.emit_json(api.ask("GET", f"/v1/policy/versions/{version}").body)


def diff(
    before: Annotated[
        str, typer.Argument(metavar="BEFORE", help='A version, or "published".')
    ] = "published",
    after: Annotated[str, typer.Argument(metavar="AFTER", help='A version, or "draft".')] = "draft",
    *,
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show what differs between two versions of the platform's policy, and what is wider."""
    with connected(server, api_key_file) as api:
        found = api.ask("GET", "/v1/policy/diff", query={"before": before, "after": after}).body
        wrong = api.ask("GET", "/v1/policy/check").body if after == "draft" else None
    if as_json:
        output.emit_json(found)
        return
    for change in found["changes"]:
        output.emit(f"{change['change']} {change['kind']} {change['name']}")
        if change["change"] == "changed":
            for member in change["members"]:
                old, new = plain(member["before"]), plain(member["after"])
                output.emit(f"    {member['member']}: {old or '-'} -> {new or '-'}")
    if not found["changes"]:
        output.emit("Nothing differs.")
    _say_wider(found["widenings"])
    for word, parts in (wrong or {}).items():
        for part in parts:
            said = f"{part['location']}: {part['message']} {part['suggestion']}".strip()
            (output.warn if word == "warnings" else output.say)(said)


def history(
    *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List the versions that the platform has published, the newest first."""
    with connected(server, api_key_file) as api:
        found = list(api.pages("/v1/policy/versions"))
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("VERSION", "AT", "BY", "APPROVED BY", "CHANGES", "WIDER", "NOTE"),
        [
            (
                item["version"],
                moment(item["at"]),
                item["principal"] or None,
                item["approved_by"] or None,
                item["changes"],
                len(item["widenings"]) or None,
                (f"back to {item['rolled_back_to']}. " if item["rolled_back_to"] else "")
                + item["note"]
                or None,
            )
            for item in found
        ],
    )


def publish(*, note: Note = "", server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Publish the platform's draft; gateways have it within a second.

    What allows more than before may wait for a second principal.
    """
    with connected(server, api_key_file) as api:
        draft = api.ask("GET", "/v1/policy").version
        answer = api.ask("POST", "/v1/policy/publish", body={"note": note}, version=draft)
    _say_outcome(answer.status, answer.body)


def rollback(
    version: Annotated[int, typer.Argument(metavar="VERSION", help="Whose content comes back.")],
    *,
    note: Note = "",
    discard_draft: Annotated[
        bool, typer.Option("--discard-draft", help="Give up what is in the draft.")
    ] = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Publish an earlier version's content again, as a new version."""
    body = {"version": version, "note": note, "discard_draft": discard_draft}
    with connected(server, api_key_file) as api:
        draft = api.ask("GET", "/v1/policy").version
        answer = api.ask("POST", "/v1/policy/rollback", body=body, version=draft)
    _say_outcome(answer.status, answer.body)


def discard(*, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Make the platform's draft what is published."""
    with connected(server, api_key_file) as api:
        draft = api.ask("GET", "/v1/policy").version
        api.ask("POST", "/v1/policy/discard", version=draft)
    output.say("The draft is what is published.")


def dry_run(
    *,
    version: Annotated[
        int | None,
        typer.Option("--version", metavar="NUMBER", help="A published version, not the draft."),
    ] = None,
    hours: Annotated[int, typer.Option("--hours", metavar="NUMBER", help="How far back.")] = 24,
    as_json: AsJson = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Say which calls of the last day the platform's draft would have refused, and why."""
    with connected(server, api_key_file) as api:
        body = {"version": version, "hours": hours}
        found = api.ask("POST", "/v1/policy/dry-run", body=body).body
    if as_json:
        output.emit_json(found)
        return
    output.emit(
        f"{output.counted(found['calls'], 'call')}, {found['refused']} would be refused, "
        f"{found['other_credential']} would use another credential."
    )
    for reason in found["reasons"]:
        output.emit(
            f"{reason['reason']}: {output.counted(reason['calls'], 'call')} of "
            f"{output.counted(reason['principals'], 'principal')}"
        )
        output.emit_table(
            ("  AT", "PRINCIPAL", "MODEL", "PURPOSE", "ENVIRONMENT"),
            [
                (
                    f"  {moment(call['at'])}",
                    call["principal"],
                    call["model"],
                    call["purpose"],
                    call["environment"],
                )
                for call in reason["samples"]
            ],
        )
    if not found["complete"]:
        output.warn("There were more calls than a dry run asks about; these are the newest.")


def approve(proposal: Proposal, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Decide for what somebody else proposed."""
    with connected(server, api_key_file) as api:
        answer = api.ask("POST", f"/v1/policy/proposals/{proposal}/approve")
    if answer.status == _ACCEPTED:
        output.say("The revocation is lifted.")
    else:
        _say_outcome(answer.status, answer.body)


def refuse(proposal: Proposal, *, server: Server = "", api_key_file: ApiKeyFile = None) -> None:
    """Decide against what somebody else proposed; the draft stays as it is."""
    with connected(server, api_key_file) as api:
        api.ask("POST", f"/v1/policy/proposals/{proposal}/refuse")
    output.say("The proposal is refused.")


def revoke(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help="lease, principal, credential, admission or all."),
    ],
    thing: Annotated[
        str,
        typer.Argument(
            metavar="OBJECT",
            help="Lease id, principal, name of a credential, or id of a trust rule or API key.",
        ),
    ] = "",
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")] = "",
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """Revoke on every gateway of the platform, at once. Prints the revocation's id."""
    with connected(server, api_key_file) as api:
        if kind == "credential":
            thing = _credential_id(api, thing)
        body = {"kind": kind, "object": thing, "reason": reason}
        made = api.ask("POST", "/v1/revocations", body=body).body
    output.emit(made["id"])


def revocations(
    *, as_json: AsJson = False, server: Server = "", api_key_file: ApiKeyFile = None
) -> None:
    """List what is revoked on the platform."""
    with connected(server, api_key_file) as api:
        found = list(api.pages("/v1/revocations", in_force="true"))
    if as_json:
        output.emit_json(found)
        return
    output.emit_table(
        ("ID", "KIND", "OBJECT", "AT", "BY", "REASON"),
        [
            (
                item["id"],
                item["kind"],
                item["object"] or None,
                moment(item["at"]),
                item["made_by"] or None,
                item["reason"] or None,
            )
            for item in found
        ],
    )


def lift(
    revocation: Annotated[str, typer.Argument(metavar="ID", help="The revocation.")],
    *,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
) -> None:
    """End a revocation; it may wait for a second principal."""
    with connected(server, api_key_file) as api:
        answer = api.ask("POST", f"/v1/revocations/{revocation}/lift")
    if answer.status == _ACCEPTED:
        _say_outcome(answer.status, answer.body)
    else:
        output.say("The revocation is lifted.")


def add_to(app: typer.Typer) -> None:
    """Make them commands of `keylease policy`."""
    for command in (
        diff,
        history,
        publish,
        rollback,
        discard,
        approve,
        refuse,
        revoke,
        revocations,
        lift,
    ):
        app.command()(command)
    app.command("dry-run")(dry_run)


def _credential_id(api: PlatformConnection, name: str) -> str:
    if not name:  # without a name the list would be that of all
        raise SettingsInvalid("Which credential?", advice="`keylease credential list` lists them.")
    for found in api.pages("/v1/credentials", name=name):
        return str(found["id"])
    return name  # an identifier; the platform says when it is none


def _say_outcome(status_code: int, body: dict[str, Any]) -> None:
    if status_code == _ACCEPTED:
        output.say("This allows more than before and waits for a second principal:")
        _say_wider(body["widenings"])
        output.emit(body["id"])
        output.hint(f"Somebody else approves it: `keylease policy approve {body['id']}`.")
        return
    output.emit(str(body["version"]))
    output.say(f"Version {body['version']} is published.")
    _say_wider(body["widenings"])


def _say_wider(widenings: list[dict[str, Any]]) -> None:
    for widening in widenings:
        output.say(f"wider: {widening['message']}")
