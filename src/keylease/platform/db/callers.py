"""Who a transaction acts for."""

from __future__ import annotations

import msgspec

from keylease.contracts.principals import Principal


class IdempotencyKey(msgspec.Struct, frozen=True):
    """What a client sent so that a create that is sent again creates nothing twice."""

    key: str
    """A digest of it: a client may send anything, and this is stored."""
    request_digest: str
    """SHA-256 of method, path and body, so that the key is not used for another request."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A principal after authentication, with what narrows what it may do."""

    principal: Principal | None
    """``None`` is the platform itself: start-up, retention, the sequencer."""
    organization_id: str
    permissions: frozenset[str] | None = None
    """The permissions of an API key; ``None`` does not narrow. Never widens."""
    project_id: str = ""
    """The project that an API key is bound to; empty is all."""
    session_id: str = ""
    api_key_id: str = ""
    request_id: str = ""
    address: str = ""
    """Where the request came from; for the limits on sign-in, never for access."""
    idempotency: IdempotencyKey | None = None

    @property
    def name(self) -> str:
        """``kind:id``, or empty for the platform itself."""
        return str(self.principal) if self.principal else ""


def platform_itself(organization_id: str = "") -> Caller:
    """The caller of work that nobody asked for."""
    return Caller(principal=None, organization_id=organization_id)
