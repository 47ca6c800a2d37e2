"""The coordinator's log: one JSON object per line on stderr.

Protects: values are plain text, numbers and our own codes; whatever is not becomes the name of its
    type, so that no object can print something of its own. A ``Secret`` would be stars anyway.
Workers do not log: they report to the coordinator.
"""

from __future__ import annotations

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


def make_log(**bound: str | int) -> Log:
    """A logger of its own; nothing global is configured."""
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _only_plain,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )
    return log.bind(**bound)
