"""The inventory."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the tables of this domain."""
    op.create_table(
        "inventory_secrets",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("masked", sa.String(length=200), nullable=False),
        sa.Column("key_id", sa.String(length=200), nullable=False),
        sa.Column("confidence", sa.String(length=16), nullable=False),
        sa.Column("liveness", sa.String(length=16), nullable=False),
        sa.Column("liveness_at", sa.BigInteger(), nullable=True),
        sa.Column("belongs_to", sa.String(length=500), nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("owner_confirmed", sa.Boolean(), nullable=False),
        sa.Column("credential_id", sa.String(length=36), nullable=True),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_secrets")),
    )
    op.create_index(
        "ix_inventory_secrets_credential",
        "inventory_secrets",
        ["organization_id", "credential_id"],
        unique=False,
    )
    op.create_index(
        "ix_inventory_secrets_provider",
        "inventory_secrets",
        ["organization_id", "provider", "id"],
        unique=False,
    )
    op.create_table(
        "inventory_sources",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("pushed_by", sa.String(length=100), nullable=False),
        sa.Column("first_scan_at", sa.BigInteger(), nullable=False),
        sa.Column("last_scan_at", sa.BigInteger(), nullable=False),
        sa.Column("last_complete_at", sa.BigInteger(), nullable=True),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_sources")),
    )
    op.create_index(
        "uq_inventory_sources",
        "inventory_sources",
        ["organization_id", "kind", "name"],
        unique=True,
    )
    op.create_table(
        "inventory_vendors",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("connector", sa.String(length=64), nullable=False),
        sa.Column("given", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=True),
        sa.Column("attested_by", sa.String(length=100), nullable=False),
        sa.Column("attested_at", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.String(length=2000), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_vendors")),
    )
    op.create_index(
        "uq_inventory_vendors", "inventory_vendors", ["organization_id", "name"], unique=True
    )
    op.create_table(
        "inventory_changes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("secret_id", sa.String(length=36), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.String(length=48), nullable=False),
        sa.Column("by", sa.String(length=100), nullable=False),
        sa.Column("details", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["secret_id"], ["inventory_secrets.id"], name=op.f("fk_inventory_changes_secret_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_changes")),
    )
    op.create_index(
        "ix_inventory_changes_organization",
        "inventory_changes",
        ["organization_id", "id"],
        unique=False,
    )
    op.create_index(
        "ix_inventory_changes_secret", "inventory_changes", ["secret_id", "id"], unique=False
    )
    op.create_table(
        "inventory_exceptions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("secret_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=48), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("made_by", sa.String(length=100), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["secret_id"], ["inventory_secrets.id"], name=op.f("fk_inventory_exceptions_secret_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_exceptions")),
    )
    op.create_index(
        "ix_inventory_exceptions_secret", "inventory_exceptions", ["secret_id"], unique=False
    )
    op.create_table(
        "inventory_fingerprints",
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("fingerprint", sa.String(length=160), nullable=False),
        sa.Column("secret_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["secret_id"],
            ["inventory_secrets.id"],
            name=op.f("fk_inventory_fingerprints_secret_id"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "fingerprint", name=op.f("pk_inventory_fingerprints")
        ),
    )
    op.create_index(
        "ix_inventory_fingerprints_secret", "inventory_fingerprints", ["secret_id"], unique=False
    )
    op.create_table(
        "inventory_locations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("source_id", sa.String(length=36), nullable=False),
        sa.Column("secret_id", sa.String(length=36), nullable=True),
        sa.Column("vendor_id", sa.String(length=36), nullable=True),
        sa.Column("place", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=48), nullable=False),
        sa.Column("path", sa.String(length=1000), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("repository", sa.String(length=500), nullable=False),
        sa.Column("environment", sa.String(length=100), nullable=False),
        sa.Column("in_history_only", sa.Boolean(), nullable=False),
        sa.Column("location", sa.LargeBinary(), nullable=False),
        sa.Column("pushed_by", sa.String(length=100), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["secret_id"], ["inventory_secrets.id"], name=op.f("fk_inventory_locations_secret_id")
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["inventory_sources.id"], name=op.f("fk_inventory_locations_source_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_locations")),
    )
    op.create_index(
        "ix_inventory_locations_place",
        "inventory_locations",
        ["organization_id", "source_id", "place"],
        unique=False,
    )
    op.create_index(
        "ix_inventory_locations_secret", "inventory_locations", ["secret_id"], unique=False
    )
    op.create_index(
        "ix_inventory_locations_vendor", "inventory_locations", ["vendor_id"], unique=False
    )
    op.create_table(
        "inventory_webhooks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("url", sa.String(length=500), nullable=False),
        sa.Column("events", sa.String(length=500), nullable=False),
        sa.Column("made_by", sa.String(length=100), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_reason", sa.String(length=300), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_webhooks")),
    )
    op.create_index(
        "ix_inventory_webhooks_organization",
        "inventory_webhooks",
        ["organization_id", "id"],
        unique=False,
    )
    op.create_table(
        "inventory_webhook_queue",
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("webhook_id", sa.String(length=36), nullable=False),
        sa.Column("change_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["inventory_webhooks.id"],
            name=op.f("fk_inventory_webhook_queue_webhook_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["change_id"],
            ["inventory_changes.id"],
            name=op.f("fk_inventory_webhook_queue_change_id"),
        ),
        sa.PrimaryKeyConstraint("webhook_id", "change_id", name=op.f("pk_inventory_webhook_queue")),
    )
    op.create_table(
        "inventory_webhook_deliveries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("webhook_id", sa.String(length=36), nullable=False),
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.Column("delivered", sa.Boolean(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.Column("problem", sa.String(length=300), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["inventory_webhooks.id"],
            name=op.f("fk_inventory_webhook_deliveries_webhook_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_webhook_deliveries")),
    )
    op.create_index(
        "ix_inventory_webhook_deliveries_webhook",
        "inventory_webhook_deliveries",
        ["webhook_id", "id"],
        unique=False,
    )
