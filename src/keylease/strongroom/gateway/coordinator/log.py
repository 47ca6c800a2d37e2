"""The coordinator's log: one line for each event on stderr, as text or as a JSON object.

Protects: values are plain text, numbers and our own codes; whatever is not becomes the name of its
    type, so that no object can print something of its own. A ``Secret`` would be stars anyway.
Workers do not log: they report to the coordinator.
"""

from __future__ import annotations

import json
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_PLAIN: Final = (str, int, float, bool, type(None))
Log = structlog.typing.FilteringBoundLogger


def _only_plain(
    _logger: object, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name, value in entry.items():
        if isinstance(value, BaseException):
            entry[name] = type(value).__name__
        elif not isinstance(value, _PLAIN):
            entry[name] = f"<{type(value).__name__}>"
    return entry


def _as_text(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> str:
    """``TIME LEVEL EVENT name=value``; nothing in a value can end the line or move a cursor."""
    front = " ".join(str(entry.pop(name)) for name in ("timestamp", "level", "event"))
    rest = (f"{name}={json.dumps(value, ensure_ascii=True)}" for name, value in entry.items())
    return " ".join((front, *rest))


def make_log(*, level: str = "info", form: str = "json", **bound: str | int) -> Log:
    """A logger of its own; nothing global is configured. ``form`` is ``json`` or ``text``."""
    render = _as_text if form == "text" else structlog.processors.JSONRenderer(ensure_ascii=True)
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _only_plain,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return log.bind(**bound)
