"""The first words of an input or output, as lists show them."""

from __future__ import annotations

from typing import Final

from keylease.platform.traces.understanding.messages import last_text
from keylease.platform.traces.understanding.values import decoded

_MESSAGES: Final = '[{"role":'


def preview(body: str, length: int) -> str:
    """The last thing that was said, the text itself, or the beginning of the JSON."""
    if not body:
        return ""
    if body.startswith(_MESSAGES):
        messages = decoded(body)
        said = last_text(messages) if isinstance(messages, list) else ""
        return (said or body)[:length]
    if body[0] == '"':
        whole = decoded(body)
        return whole[:length] if isinstance(whole, str) else body[:length]
    return body[:length]
