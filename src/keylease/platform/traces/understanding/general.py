"""What every dialect leaves to OpenTelemetry itself: errors, session, user, service, environment.

Sources: OpenTelemetry semantic conventions (exceptions, session, user, deployment, service).
"""

from __future__ import annotations

from typing import Final

from keylease.contracts import span_attributes as names
from keylease.platform.traces.model import Meaning, RawSpan, Status
from keylease.platform.traces.understanding.dialects import Attributes
from keylease.platform.traces.understanding.values import text

SESSION: Final = ("session.id", "gen_ai.conversation.id", "thread.id", "langfuse.session.id")
USER: Final = ("user.id", "enduser.id", "langfuse.user.id")
ENVIRONMENT: Final = ("deployment.environment.name", "deployment.environment")
SERVICE: Final = "service.name"
_EXCEPTION: Final = "exception"
_LONGEST_ERROR: Final = 4096
"""Characters."""


def complete_generally(meaning: Meaning, span: RawSpan) -> None:
    """Fill what no dialect said."""
    attributes = span.attributes
    if not meaning.session_id:
        meaning.session_id = _first(attributes, SESSION)
    if not meaning.user_id:
        meaning.user_id = _first(attributes, USER)
    if not meaning.environment:
        meaning.environment = _first(span.origin.resource, ENVIRONMENT) or _first(
            attributes, ENVIRONMENT
        )
    if not meaning.error:
        meaning.error = _error(span)


def _first(attributes: Attributes, wanted: tuple[str, ...]) -> str:
    for name in wanted:
        if found := text(attributes.get(name)):
            return found
    return ""


def _error(span: RawSpan) -> str:
    """Type and message. An exception that was recorded and handled is no error of the span."""
    kind = text(span.attributes.get(names.ERROR_TYPE))
    if span.status is not Status.ERROR and not kind:
        return ""
    message = span.status_message
    for event in reversed(span.events):
        if event.name == _EXCEPTION:
            kind = text(event.attributes.get("exception.type")) or kind
            message = text(event.attributes.get("exception.message")) or message
            break
    if not message or message == kind:
        found = kind or "error"
    elif not kind or message.startswith(kind):
        found = message
    else:
        found = f"{kind}: {message}"
    return found[:_LONGEST_ERROR]
