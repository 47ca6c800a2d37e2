"""The index of the audit log."""

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the tables of this domain."""


def downgrade() -> None:
    """Remove them."""
