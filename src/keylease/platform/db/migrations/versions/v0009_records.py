"""Call records."""

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the tables of this domain."""


def downgrade() -> None:
    """Remove them."""
