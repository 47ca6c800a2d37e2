"""Webhooks as people see them, and what is sent to them."""

from __future__ import annotations

import msgspec

MAXIMUM_WEBHOOKS = 20
"""Of one organization."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told when the inventory changes."""

    id: str
    url: str
    events: tuple[str, ...]
    """Kinds of changes; empty is all."""
    enabled: bool
    disabled_at: int | None
    disabled_reason: str
    failures: int
    """In a row, up to now."""
    waiting: int
    """Changes that are not delivered yet."""
    next_at: int
    """When the next attempt is made at the earliest; microseconds UTC."""
    public_key: str
    """By which a receiver verifies messages: ``whpk_`` of the Standard Webhooks specification."""
    made_by: str
    made_at: int
    version: int


class WebhookWish(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of a webhook."""

    url: str
    events: tuple[str, ...] = ()
    enabled: bool = True


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt."""

    id: str
    message_id: str
    at: int
    changes: int
    delivered: bool
    status: int
    """Of HTTP; 0 when there was no answer."""
    problem: str


class ToldChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change as it is sent: identifiers, masked forms and states, and nothing besides."""

    id: str
    at: int
    what: str
    by: str
    secret_id: str = ""
    provider: str = ""
    masked: str = ""
    state: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a message."""

    type: str = "inventory.changed"
    organization_id: str
    webhook_id: str
    changes: tuple[ToldChange, ...]
