"""GitHub and GitLab, as far as the names of secrets go.

Source: docs.github.com REST API (2022-11-28); docs.gitlab.com API v4.
"""

from __future__ import annotations

from typing import Any

from keylease.simulator.systems.system import Answered, Asked, Entry, linked

_MISSING = Answered(404, {"message": "Not Found"})


def github(entries: tuple[Entry, ...], asked: Asked) -> Answered:
    """``container`` is an organization or ``owner/repository``."""
    match asked.parts:
        case ("orgs", owner):
            return Answered(200, {"login": owner}) if _owns(entries, owner) else _MISSING
        case ("orgs" | "users", owner, "repos"):
            names = sorted({e.container for e in entries if e.container.startswith(f"{owner}/")})
            return linked([{"full_name": name} for name in names], asked)
        case ("orgs", owner, "actions", "secrets"):
            return linked(_github(entries, owner, ""), asked, below="secrets")
        case ("repos", owner, name, *rest):
            return _repository(entries, f"{owner}/{name}", tuple(rest), asked)
        case _:
            return _MISSING  # also namespaces that are switched off


def _repository(
    entries: tuple[Entry, ...], name: str, rest: tuple[str, ...], asked: Asked
) -> Answered:
    match rest:
        case ("actions", "secrets"):
            return linked(_github(entries, name, ""), asked, below="secrets")
        case ("environments",):
            held = {e.environment for e in entries if e.container == name} - {""}
            return Answered(200, {"environments": [{"name": one} for one in sorted(held)]})
        case ("environments", environment, "secrets"):
            return linked(_github(entries, name, environment), asked, below="secrets")
        case _:
            return _MISSING


def gitlab(entries: tuple[Entry, ...], asked: Asked) -> Answered:
    """``container`` is the full path of a group or project."""
    match asked.parts:
        case ("api", "v4", "groups", group):
            return Answered(200, {"full_path": group}) if _owns(entries, group) else _MISSING
        case ("api", "v4", "groups", group, "projects"):
            names = sorted({e.container for e in entries if e.container.startswith(f"{group}/")})
            return linked([{"path_with_namespace": name} for name in names], asked)
        case ("api", "v4", "groups" | "projects", name, "variables"):
            return linked(
                [
                    {
                        "key": e.name,
                        "value": None,
                        "masked": True,
                        "hidden": True,
                        "environment_scope": e.environment or "*",
                    }
                    for e in entries
                    if e.container == name
                ],
                asked,
            )
        case _:
            return _MISSING


def _owns(entries: tuple[Entry, ...], owner: str) -> bool:
    return any(e.container == owner or e.container.startswith(f"{owner}/") for e in entries)


def _github(entries: tuple[Entry, ...], container: str, environment: str) -> list[dict[str, Any]]:
    return [
        {"name": e.name, "created_at": e.created, "updated_at": e.changed}
        for e in entries
        if (e.container, e.environment) == (container, environment)
    ]
