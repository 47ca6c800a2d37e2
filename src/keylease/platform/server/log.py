"""The platform's log: one line for each event on stderr, as text or as a JSON object.

Protects: values are plain text, numbers and our own codes; whatever is not becomes the name of its
    type, so that no object can print something of its own.
A log that cannot be written (its disk is full as well, its reader is gone) ends nothing: lines are
lost then, and what is worth remembering is in the audit log.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_PLAIN: Final = (str, int, float, bool, type(None))


class _Lines:
    """Writes to stderr, as far as that is possible."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: stderr was closed
            sys.stderr.write(message + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


def _only_plain(
    _logger: object, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name, value in entry.items():
        if not isinstance(value, _PLAIN):
            entry[name] = f"<{type(value).__name__}>"
    return entry


def _as_text(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> str:
    """``TIME LEVEL EVENT name=value``; nothing in a value can end the line or move a cursor."""
    front = " ".join(str(entry.pop(name)) for name in ("timestamp", "level", "event"))
    rest = (f"{name}={json.dumps(value, ensure_ascii=True)}" for name, value in entry.items())
    return " ".join((front, *rest))


def configure_log(*, level: str = "info", form: str = "json") -> None:
    """Say where this process logs to, once at its start. ``form`` is ``json`` or ``text``."""
    render = _as_text if form == "text" else structlog.processors.JSONRenderer(ensure_ascii=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _only_plain,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(),
        cache_logger_on_first_use=False,
    )
