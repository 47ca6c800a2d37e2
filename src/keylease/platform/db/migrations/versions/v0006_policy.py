"""Credentials, routes, policy grants, budgets, trust rules, and their history."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables of this domain."""
    op.create_table(
        "policy_state",
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("published", sa.BigInteger(), nullable=False),
        sa.Column("draft", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("bundle_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name="pk_policy_state"),
    )
    op.create_table(
        "policy_objects",
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("taken_name", sa.String(64), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("draft_state", sa.String(16), nullable=False),
        sa.Column("settled", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_policy_objects"),
    )
    op.create_index("ix_policy_objects_draft", "policy_objects", ["organization_id", "draft_state"])
    op.create_index(
        "uq_policy_objects_name",
        "policy_objects",
        ["organization_id", "kind", "taken_name"],
        unique=True,
    )
    op.create_table(
        "policy_revisions",
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("object_id", sa.String(36), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("principal", sa.String(100), nullable=False),
        sa.Column("change", sa.String(32), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("published_from", sa.BigInteger(), nullable=True),
        sa.Column("published_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint(
            "organization_id", "object_id", "version", name="pk_policy_revisions"
        ),
    )
    op.create_index(
        "ix_policy_revisions_published",
        "policy_revisions",
        ["organization_id", "published_from", "published_until"],
    )
    op.create_table(
        "policy_versions",
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("principal", sa.String(100), nullable=False),
        sa.Column("approved_by", sa.String(100), nullable=False),
        sa.Column("note", sa.String(500), nullable=False),
        sa.Column("rolled_back_to", sa.BigInteger(), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.Column("widenings", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "version", name="pk_policy_versions"),
    )
    op.create_table(
        "policy_proposals",
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("draft", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.String(500), nullable=False),
        sa.Column("widenings", sa.LargeBinary(), nullable=False),
        sa.Column("authors", sa.LargeBinary(), nullable=False),
        sa.Column("requested_by", sa.String(100), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("decided_by", sa.String(100), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_policy_proposals"),
    )
    op.create_index("ix_policy_proposals_state", "policy_proposals", ["organization_id", "state"])
    op.create_table(
        "policy_revocations",
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("value", sa.String(256), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.String(100), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("lifted_at", sa.BigInteger(), nullable=True),
        sa.Column("lifted_by", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_policy_revocations"),
    )
    op.create_index(
        "ix_policy_revocations_in_force", "policy_revocations", ["organization_id", "lifted_at"]
    )
    op.create_table(
        "policy_keys",
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("id", sa.String(80), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("endorsement", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_policy_keys"),
    )
    op.create_index(
        "uq_policy_keys_sequence", "policy_keys", ["organization_id", "sequence"], unique=True
    )
    op.create_table(
        "policy_bundles",
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("gateway_group", sa.String(128), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "gateway_group", "version", name="pk_policy_bundles"
        ),
    )
