"""What is said on a gateway's control socket: newline-delimited JSON, one request per line.

Append-only: operations and members are added, none is renamed or given another meaning. A gateway
answers every line with one line, in order; ``calls.follow`` answers with any number of lines that
have ``more``, until the client closes.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

CONTROL_VERSION: Final = 1
MAXIMUM_LINE: Final = 1024 * 1024


class ControlRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request."""

    operation: str
    version: int = CONTROL_VERSION
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


class ControlError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the gateway's errors, in its safe parts."""

    code: str
    message: str
    advice: str = ""
    exit_status: int = 1


class ControlReply(msgspec.Struct, frozen=True):
    """One answer: a result or an error."""

    version: int = CONTROL_VERSION
    result: Any = None
    error: ControlError | None = None
    more: bool = False
    """Another line belongs to the same answer."""
