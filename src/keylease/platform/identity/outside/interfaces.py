"""The shapes of outside issuers."""

from __future__ import annotations

from typing import Final

import msgspec

CALLBACK: Final = "/sign-in/outside/callback"


class IssuerContent(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner says of an issuer."""

    name: str
    issuer: str
    """Its URL, exactly as its tokens have it."""
    client_id: str
    groups_claim: str = ""
    """The claim with a list of groups; empty maps none."""
    groups: dict[str, str] = {}
    """Value of the claim -> identifier of a group here."""
    adds_users: bool = False
    """Whether an address of the organization's domains that nobody has becomes a user."""
    sees_to_second_factor: bool = False
    """Whether the issuer itself asks for two factors, so that none is asked for here."""


class OutsideIssuer(IssuerContent, frozen=True, kw_only=True):
    """An issuer, without its client secret."""

    id: str
    organization_id: str
    has_client_secret: bool
    created_at: int
    version: int


class OfferedIssuer(msgspec.Struct, frozen=True):
    """What the sign-in page shows."""

    id: str
    name: str


class OutsideIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What a checked ID token (and the issuer's user info) says."""

    subject: str
    email: str
    """Empty unless the issuer has verified it."""
    name: str
    groups: frozenset[str]
    second_factor: bool
    """Whether the token says that two factors were used (RFC 8176: ``mfa``)."""
