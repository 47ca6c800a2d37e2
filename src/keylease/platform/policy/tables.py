"""The tables of policy: what things are, how they came to be, and what was made of them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, LargeBinary, PrimaryKeyConstraint, Table

from keylease.platform.db.columns import (
    METADATA,
    document,
    identifier,
    label,
    moment,
    organization,
    version,
)

STATE: Final = Table(
    "policy_state",
    METADATA,
    organization(),
    Column("published", BigInteger, nullable=False),
    Column("draft", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("bundle_version", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id"),
)
"""One row for each organization, locked by whoever changes its policy: the published version, how
often the draft changed, how often anything that a bundle is made of changed, the last number given
to a bundle."""

OBJECTS: Final = Table(
    "policy_objects",
    METADATA,
    organization(),
    identifier(),
    label("kind", length=32),
    label("taken_name", length=64, nullable=True),
    version(),
    document("content"),
    label("draft_state", length=16),
    Column("settled", BigInteger, nullable=False),
    moment("removed_at", nullable=True),
    moment("created_at"),
    moment("changed_at"),
    label("changed_by", length=100),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("uq_policy_objects_name", "organization_id", "kind", "taken_name", unique=True),
    Index("ix_policy_objects_draft", "organization_id", "draft_state"),
)
"""Things as they are in the draft. ``taken_name`` is empty (NULL) once removed, so that the name is
free again; ``settled`` is the version up to which every change was published or discarded."""

REVISIONS: Final = Table(
    "policy_revisions",
    METADATA,
    organization(),
    identifier("object_id"),
    version(),
    label("kind", length=32),
    moment("at"),
    label("principal", length=100),
    label("change", length=32),
    document("content", nullable=True),
    Column("published_from", BigInteger, nullable=True),
    Column("published_until", BigInteger, nullable=True),
    PrimaryKeyConstraint("organization_id", "object_id", "version"),
    Index("ix_policy_revisions_published", "organization_id", "published_from", "published_until"),
)
"""Every change. A revision is part of the policy versions from ``published_from`` on, up to and
without ``published_until``; ``content`` is NULL for a removal."""

VERSIONS: Final = Table(
    "policy_versions",
    METADATA,
    organization(),
    version(),
    moment("at"),
    label("principal", length=100),
    label("approved_by", length=100),
    label("note", length=500),
    Column("rolled_back_to", BigInteger, nullable=False),
    Column("changes", BigInteger, nullable=False),
    document("widenings"),
    PrimaryKeyConstraint("organization_id", "version"),
)
"""What was published, by whom, and in what it allowed more than before."""

PROPOSALS: Final = Table(
    "policy_proposals",
    METADATA,
    organization(),
    identifier(),
    label("kind", length=16),
    label("subject", length=64),
    Column("draft", BigInteger, nullable=False),
    label("note", length=500),
    document("widenings"),
    document("authors"),
    label("requested_by", length=100),
    moment("requested_at"),
    moment("expires_at"),
    label("state", length=16),
    label("decided_by", length=100),
    moment("decided_at"),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("ix_policy_proposals_state", "organization_id", "state"),
)
"""What waits, or waited, for a second principal."""

REVOCATIONS: Final = Table(
    "policy_revocations",
    METADATA,
    organization(),
    identifier(),
    label("kind", length=16),
    label("value", length=256),
    moment("at"),
    label("made_by", length=100),
    label("reason", length=500),
    moment("lifted_at", nullable=True),
    label("lifted_by", length=100),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("ix_policy_revocations_in_force", "organization_id", "lifted_at"),
)

KEYS: Final = Table(
    "policy_keys",
    METADATA,
    organization(),
    label("id", length=80),
    Column("sequence", BigInteger, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    document("endorsement", nullable=True),
    moment("at"),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("uq_policy_keys_sequence", "organization_id", "sequence", unique=True),
)
"""Public halves of the keys that sign bundles; the highest ``sequence`` is in use."""

BUNDLES: Final = Table(
    "policy_bundles",
    METADATA,
    organization(),
    label("gateway_group", length=128),
    version(),
    label("digest", length=64),
    Column("policy_version", BigInteger, nullable=False),
    moment("at"),
    PrimaryKeyConstraint("organization_id", "gateway_group", "version"),
)
"""Which content each version of a bundle had."""
