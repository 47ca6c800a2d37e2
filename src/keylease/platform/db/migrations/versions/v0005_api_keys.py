"""API keys."""

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables of this domain."""


def downgrade() -> None:
    """Remove them."""
