"""The inventory's tables. ``repository`` and ``intake`` are their only users."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    String,
    Table,
)

from keylease.platform.db.columns import (
    METADATA,
    document,
    identifier,
    label,
    moment,
    organization,
    version,
)


def _of_secret(*, nullable: bool = False) -> Column[str]:
    return Column("secret_id", String(36), ForeignKey("inventory_secrets.id"), nullable=nullable)


SECRETS: Final = Table(
    "inventory_secrets",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("provider", length=64),
    label("kind", length=64),
    label("masked"),
    label("key_id"),
    label("confidence", length=16),
    label("liveness", length=16),
    moment("liveness_at", nullable=True),
    label("belongs_to", length=500),
    label("owner", length=200),
    Column("owner_confirmed", Boolean, nullable=False),
    identifier("credential_id", nullable=True),
    moment("first_seen"),
    moment("last_seen"),
    moment("removed_at", nullable=True),
    version(),
    Index("ix_inventory_secrets_provider", "organization_id", "provider", "id"),
    Index("ix_inventory_secrets_credential", "organization_id", "credential_id"),
)

FINGERPRINTS: Final = Table(
    "inventory_fingerprints",
    METADATA,
    organization(),
    label("fingerprint", length=160),
    _of_secret(),
    PrimaryKeyConstraint("organization_id", "fingerprint"),
    Index("ix_inventory_fingerprints_secret", "secret_id"),
)

REPORTED: Final = Table(
    "inventory_reported",
    METADATA,
    organization(),
    label("fingerprint", length=160),
    identifier("credential_id"),
    label("credential_version"),
    identifier("gateway_id"),
    moment("first_reported"),
    moment("last_reported"),
    PrimaryKeyConstraint("organization_id", "fingerprint", "credential_id"),
    Index("ix_inventory_reported_credential", "organization_id", "credential_id"),
)
"""Fingerprints of the secrets that gateways fetched for credentials of the policy."""

SOURCES: Final = Table(
    "inventory_sources",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("kind", length=32),
    label("name", length=500),
    label("pushed_by", length=100),
    moment("first_scan_at"),
    moment("last_scan_at"),
    moment("last_complete_at", nullable=True),
    moment("retired_at", nullable=True),
    Index("uq_inventory_sources", "organization_id", "kind", "name", unique=True),
)

LOCATIONS: Final = Table(
    "inventory_locations",
    METADATA,
    identifier(primary_key=True),
    organization(),
    Column("source_id", String(36), ForeignKey("inventory_sources.id"), nullable=False),
    _of_secret(nullable=True),
    identifier("vendor_id", nullable=True),
    label("place", length=200),
    label("kind", length=48),
    label("path", length=1000),
    label("name", length=300),
    label("provider", length=64),
    label("repository", length=500),
    label("environment", length=100),
    Column("in_history_only", Boolean, nullable=False),
    document("location"),
    label("pushed_by", length=100),
    moment("first_seen"),
    moment("last_seen"),
    moment("removed_at", nullable=True),
    Index("ix_inventory_locations_place", "organization_id", "source_id", "place"),
    Index("ix_inventory_locations_secret", "secret_id"),
    Index("ix_inventory_locations_vendor", "vendor_id"),
)

NAMES: Final = Table(
    "inventory_names",
    METADATA,
    organization(),
    Column(
        "location_id",
        String(36),
        ForeignKey("inventory_locations.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    label("called", length=200),
    label("reach", length=600),
    label("object", length=300),
    label("refers_to", length=300),
    label("reason", length=300),
    Index("ix_inventory_names_called", "organization_id", "called"),
    Index("ix_inventory_names_object", "organization_id", "object"),
)
"""By which names are linked with secrets: see ``linking``. A location without a name has no row."""

VENDORS: Final = Table(
    "inventory_vendors",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("name", length=64),
    label("title"),
    label("connector", length=64),
    document("given"),
    moment("since", nullable=True),
    label("attested_by", length=100),
    moment("attested_at"),
    label("note", length=2000),
    moment("archived_at", nullable=True),
    version(),
    Index("uq_inventory_vendors", "organization_id", "name", unique=True),
)

EXCEPTIONS: Final = Table(
    "inventory_exceptions",
    METADATA,
    identifier(primary_key=True),
    organization(),
    _of_secret(),
    label("state", length=48),
    label("reason", length=2000),
    label("owner", length=200),
    label("made_by", length=100),
    moment("made_at"),
    moment("ends_at"),
    moment("withdrawn_at", nullable=True),
    version(),
    Index("ix_inventory_exceptions_secret", "secret_id"),
)

CHANGES: Final = Table(
    "inventory_changes",
    METADATA,
    identifier(primary_key=True),
    organization(),
    _of_secret(nullable=True),
    moment("at"),
    label("what", length=48),
    label("by", length=100),
    document("details"),
    Index("ix_inventory_changes_secret", "secret_id", "id"),
    Index("ix_inventory_changes_organization", "organization_id", "id"),
)

WEBHOOKS: Final = Table(
    "inventory_webhooks",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("url", length=500),
    label("events", length=500),
    label("made_by", length=100),
    moment("made_at"),
    Column("failures", BigInteger, nullable=False),
    moment("next_at"),
    moment("claimed_until"),
    moment("disabled_at", nullable=True),
    label("disabled_reason", length=300),
    version(),
    Index("ix_inventory_webhooks_organization", "organization_id", "id"),
)

WEBHOOK_QUEUE: Final = Table(
    "inventory_webhook_queue",
    METADATA,
    organization(),
    Column(
        "webhook_id",
        String(36),
        ForeignKey("inventory_webhooks.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("change_id", String(36), ForeignKey("inventory_changes.id"), nullable=False),
    PrimaryKeyConstraint("webhook_id", "change_id"),
)

WEBHOOK_DELIVERIES: Final = Table(
    "inventory_webhook_deliveries",
    METADATA,
    identifier(primary_key=True),
    organization(),
    Column(
        "webhook_id",
        String(36),
        ForeignKey("inventory_webhooks.id", ondelete="CASCADE"),
        nullable=False,
    ),
    identifier("message_id"),
    moment("at"),
    Column("changes", BigInteger, nullable=False),
    Column("delivered", Boolean, nullable=False),
    Column("status", BigInteger, nullable=False),
    label("problem", length=300),
    Index("ix_inventory_webhook_deliveries_webhook", "webhook_id", "id"),
)
