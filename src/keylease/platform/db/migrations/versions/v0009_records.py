"""Call records, their totals, and how far each gateway was taken."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def _call_records() -> None:
    op.create_table(
        "call_records",
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("gateway_id", sa.String(36), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("principal", sa.String(220), nullable=False),
        sa.Column("credential_id", sa.String(36), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name="pk_call_records"),
    )
    op.create_index(
        "ix_call_records_credential",
        "call_records",
        ["organization_id", "credential_id", "started_at"],
    )
    op.create_index(
        "ix_call_records_principal", "call_records", ["organization_id", "principal", "started_at"]
    )
    op.create_index(
        "ix_call_records_started_at", "call_records", ["organization_id", "started_at", "id"]
    )


def _call_totals() -> None:
    op.create_table(
        "call_totals",
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("principal", sa.String(220), nullable=False),
        sa.Column("credential_id", sa.String(36), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("cost_unknown", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "day", "principal", "credential_id", "model", name="pk_call_totals"
        ),
    )


def _credential_versions_seen() -> None:
    op.create_table(
        "credential_versions_seen",
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("credential_id", sa.String(36), nullable=False),
        sa.Column("fingerprint", sa.String(200), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "credential_id", "fingerprint", name="pk_credential_versions_seen"
        ),
    )


def _call_spools() -> None:
    op.create_table(
        "call_spools",
        sa.Column("gateway_id", sa.String(36), nullable=False),
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("spool_id", sa.String(36), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_id", name="pk_call_spools"),
    )


def _call_records_set_aside() -> None:
    op.create_table(
        "call_records_set_aside",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("gateway_id", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_call_records_set_aside"),
    )


def upgrade() -> None:
    """Make the tables of this domain."""
    _call_records()
    _call_totals()
    _credential_versions_seen()
    _call_spools()
    _call_records_set_aside()
