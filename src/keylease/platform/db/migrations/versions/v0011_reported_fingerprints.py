"""Fingerprints that gateways report of the secrets they fetch."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "inventory_reported",
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("fingerprint", sa.String(length=160), nullable=False),
        sa.Column("credential_id", sa.String(length=36), nullable=False),
        sa.Column("credential_version", sa.String(length=200), nullable=False),
        sa.Column("gateway_id", sa.String(length=36), nullable=False),
        sa.Column("first_reported", sa.BigInteger(), nullable=False),
        sa.Column("last_reported", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id",
            "fingerprint",
            "credential_id",
            name=op.f("pk_inventory_reported"),
        ),
    )
    op.create_index(
        "ix_inventory_reported_credential",
        "inventory_reported",
        ["organization_id", "credential_id"],
        unique=False,
    )
