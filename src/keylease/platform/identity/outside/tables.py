"""Outside issuers, and which of their subjects is which user here."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, Column, Index, LargeBinary, String, Table

from keylease.platform.db.columns import (
    METADATA,
    document,
    identifier,
    label,
    moment,
    organization,
    version,
)

ISSUERS: Final = Table(
    "outside_issuers",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("name"),
    label("issuer", length=500),
    label("client_id", length=500),
    Column("sealed_client_secret", LargeBinary, nullable=True),
    label("groups_claim"),
    document("groups"),
    Column("adds_users", Boolean, nullable=False),
    Column("sees_to_second_factor", Boolean, nullable=False),
    moment("created_at"),
    version(),
    Index("uq_outside_issuers_organization_id_name", "organization_id", "name", unique=True),
)
"""``groups`` maps a value of the claim to the identifier of a group here."""

IDENTITIES: Final = Table(
    "outside_identities",
    METADATA,
    identifier("issuer_id", primary_key=True),
    Column("subject_digest", String(64), primary_key=True),
    organization(),
    identifier("user_id"),
    moment("linked_at"),
    Index("ix_outside_identities_organization_id_user_id", "organization_id", "user_id"),
)
"""The subject is kept as a digest: it is only ever compared."""
