"""Vercel, as far as the names of variables go. Source: vercel.com/docs/rest-api."""

from __future__ import annotations

from datetime import datetime

from keylease.simulator.systems.system import PAGE, Answered, Asked, Entry


def vercel(entries: tuple[Entry, ...], asked: Asked) -> Answered:
    """``container`` is a project."""
    projects = sorted({entry.container for entry in entries})
    match asked.parts:
        case ("v10", "projects"):
            start = int(asked.query.get("from", "0"))
            shown = projects[start : start + PAGE]
            following = start + PAGE if start + PAGE < len(projects) else None
            body = {
                "projects": [{"id": f"prj_{name}", "name": name} for name in shown],
                "pagination": {"count": len(shown), "next": following, "prev": None},
            }
            return Answered(200, body)
        case ("v10", "projects", project, "env"):
            held = [e for e in entries if f"prj_{e.container}" == project]
            return Answered(
                200,
                {
                    "envs": [
                        {
                            "key": e.name,
                            "type": "sensitive",
                            "target": [e.environment] if e.environment else [],
                            "createdAt": _milliseconds(e.created),
                            "updatedAt": _milliseconds(e.changed),
                        }
                        for e in held
                    ]
                },
            )
        case _:
            return Answered(404, {"error": {"code": "not_found"}})


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
