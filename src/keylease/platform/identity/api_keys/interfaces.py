"""The shapes of API keys."""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.api_keys import ApiKeyKind

DEFAULT_DAYS: Final = 90
LONGEST_GRACE: Final = 7 * 24 * 3600
"""Seconds for which the previous text of a rotated key may go on."""
USED_SECONDS: Final = 600
"""How exactly it is known when a key was last used."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key, without its text. Times are microseconds UTC."""

    id: str
    organization_id: str
    principal: str
    """Whose it is, and as whom it acts."""
    kind: ApiKeyKind
    name: str
    hint: str
    """The beginning of its text."""
    permissions: tuple[str, ...]
    project_id: str
    """The project it is bound to; empty is all."""
    created_by: str
    created_at: int
    rotated_at: int | None
    expires_at: int
    used_at: int | None
    """Some minutes behind; ``None`` is never."""
    previous_expires_at: int | None
    """Until when the text before the last rotation is good; ``None`` when it is not."""
    revoked_at: int | None
    version: int


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    name: str
    permissions: tuple[str, ...]
    kind: ApiKeyKind = ApiKeyKind.API
    principal: str = ""
    """Empty is the caller."""
    project_id: str = ""
    days: int = DEFAULT_DAYS


class ShownApiKey(msgspec.Struct, frozen=True):
    """A key and its text, which is shown this once."""

    key: ApiKey
    text: str

    def __repr__(self) -> str:
        return f"ShownApiKey({self.key.id}, text=********)"


class GatewayKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that may be exchanged for leases, as a gateway is told of it: never its text."""

    id: str
    digest: str
    principal: str
    permissions: tuple[str, ...]
    project_id: str
    expires_at: int
    """Of this text: the previous one of a rotated key ends earlier."""
