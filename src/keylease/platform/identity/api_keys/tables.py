"""API keys, by the digest of their text."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Index, Table

from keylease.platform.db.columns import (
    METADATA,
    document,
    identifier,
    label,
    moment,
    organization,
    version,
)

API_KEYS: Final = Table(
    "api_keys",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("principal", length=100),
    label("kind", length=16),
    label("name"),
    label("hint", length=20),
    label("digest", length=64),
    label("previous_digest", length=64, nullable=True),
    moment("previous_expires_at", nullable=True),
    document("permissions"),
    label("project_id", length=36),
    label("created_by", length=100),
    document("shown_to"),
    moment("created_at"),
    moment("rotated_at", nullable=True),
    moment("expires_at"),
    moment("used_at", nullable=True),
    moment("revoked_at", nullable=True),
    version(),
    Index("uq_api_keys_digest", "digest", unique=True),
    Index("uq_api_keys_previous_digest", "previous_digest", unique=True),
    Index("ix_api_keys_organization_id_principal", "organization_id", "principal"),
    Index("ix_api_keys_organization_id_expires_at", "organization_id", "expires_at"),
)
"""A revoked key stays listed, so that "was it alive then?" has an answer."""
