"""Gateways, their enrolment codes, and the nonces of what they signed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables of this domain."""
    op.create_table(
        "enrolment_codes",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("gateway_group", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.Column("gateway_id", sa.String(36), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_enrolment_codes"),
    )
    op.create_index(
        "ix_enrolment_codes_organization_id", "enrolment_codes", ["organization_id", "created_at"]
    )
    op.create_table(
        "gateways",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("gateway_group", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_at", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_with", sa.String(36), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_by", sa.String(100), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=True),
        sa.Column("link", sa.BigInteger(), nullable=False),
        sa.Column("software", sa.String(64), nullable=False),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=True),
        sa.Column("witness_key", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gateways"),
    )
    op.create_index("ix_gateways_organization_id", "gateways", ["organization_id", "gateway_group"])
    op.create_table(
        "gateway_nonces",
        sa.Column("gateway_id", sa.String(36), nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_id", "nonce", name="pk_gateway_nonces"),
    )
    op.create_index("ix_gateway_nonces_at", "gateway_nonces", ["at"])
