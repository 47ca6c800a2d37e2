"""What a gateway says of itself, for the trust report: where keys are, who can reach them, how.

Append-only. Made by the gateway from its actual configuration and state, sent with its polls.
Names of stores, hosts and patterns; never a secret.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class MeasureReport(msgspec.Struct, frozen=True, kw_only=True):
    """One protection of the gateway's processes."""

    name: str
    on: bool
    reason: str


class StoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of secret store that this gateway reads."""

    scheme: str
    protector: str
    """Whose key or permission protects what lies there, in words."""


class BindingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What may ever go where."""

    reference: str
    """A pattern."""
    provider: str
    hosts: tuple[str, ...]
    purposes: tuple[str, ...]


class CredentialReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a credential of the policy can be had here."""

    credential_id: str
    scheme: str
    available: bool
    code: str = ""
    """Why not: a stable error code."""
    checked_at: int = 0


class OwnSecret(StrEnum):
    """What a gateway handles beside provider keys and lease signing keys. Append-only."""

    LINK_KEY = "gateway's link key"
    WITNESS_KEY = "gateway's witness key"
    LEASES = "leases"
    SEALED_STORE_KEY = "key of the sealed store"
    STORE_SIGN_IN = "sign-in to a secret store"
    CONNECTOR_CREDENTIAL = "credential of a connector"
    TLS_KEY = "TLS key of the gateway's address"
    FINGERPRINT_KEY = "organization's fingerprint key"
    VERSION_KEY = "key that names versions of secrets"
    EXPORT_HEADERS = "headers for a collector of spans"
    STATIC_KEYS = "API keys that are taken in the place of leases"
    TRACE_TOKENS = "trace tokens"


class SecretReport(msgspec.Struct, frozen=True, kw_only=True):
    """One secret of the gateway's own, in words."""

    kind: str
    """A value of ``OwnSecret``, or one that only a newer gateway knows."""
    subject: str = ""
    """Which one, where there are several: a scheme, a connector."""
    location: str
    protector: str
    holder: str = "gateway: coordinator"
    lifetime: str
    audit: str


class SelfReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    made_at: int
    measures: tuple[MeasureReport, ...] = ()
    warnings: tuple[str, ...] = ()
    isolated: bool = False
    """Its own user, or Landlock."""
    listeners: tuple[str, ...] = ()
    tls: bool = False
    stores: tuple[StoreReport, ...] = ()
    bindings: tuple[BindingReport, ...] = ()
    credentials: tuple[CredentialReport, ...] = ()
    maximum_secret_age_seconds: int = 0
    """How long a fetched secret stays in memory before it is fetched again."""
    grace_seconds: int = 0
    """How long it is used beyond that while its store is down."""
    maximum_lease_seconds: int = 0
    signing_key_scheme: str = ""
    """Where the key that signs leases lies."""
    audit_entries_waiting: int = 0
    secrets: tuple[SecretReport, ...] = ()
    """Empty from a gateway that is older than this member."""
