"""The index of the audit log, its checkpoints and witnesses, and how far gateways were taken."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_INDEXED = ("action", "principal", "object", "at")


def _logs() -> None:
    op.create_table(
        "audit_logs",
        sa.Column("log_id", sa.String(36), nullable=False),
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("origin", sa.String(200), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", name="pk_audit_logs"),
    )
    op.create_index("uq_audit_logs_organization_id", "audit_logs", ["organization_id"], unique=True)


def _index() -> None:
    op.create_table(
        "audit_index",
        sa.Column("log_id", sa.String(36), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("entry_id", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(130), nullable=False),
        sa.Column("principal", sa.String(200), nullable=False),
        sa.Column("object", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("gateway_id", sa.String(36), nullable=False),
        sa.Column("gateway_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "position", name="pk_audit_index"),
    )
    op.create_index(
        "ix_audit_index_gateway_id_gateway_sequence",
        "audit_index",
        ["gateway_id", "gateway_sequence"],
    )
    for column in _INDEXED:
        op.create_index(
            f"ix_audit_index_log_id_{column}_position",
            "audit_index",
            ["log_id", column, "position"],
        )


def _gateways() -> None:
    op.create_table(
        "audit_sources",
        sa.Column("gateway_id", sa.String(36), nullable=False),
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("gateway_id", name="pk_audit_sources"),
    )
    op.create_table(
        "audit_set_aside",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("organization_id", sa.String(36), nullable=False),
        sa.Column("gateway_id", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_set_aside"),
    )


def _checkpoints() -> None:
    op.create_table(
        "audit_checkpoints",
        sa.Column("log_id", sa.String(36), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("cosignatures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "size", name="pk_audit_checkpoints"),
    )
    op.create_index("ix_audit_checkpoints_at", "audit_checkpoints", ["at"])
    op.create_table(
        "audit_witnesses",
        sa.Column("log_id", sa.String(36), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("gateway_id", sa.String(36), nullable=False),
        sa.Column("independent", sa.Boolean(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "key", name="pk_audit_witnesses"),
    )


def upgrade() -> None:
    """Make the tables of this domain."""
    _logs()
    _index()
    _gateways()
    _checkpoints()
