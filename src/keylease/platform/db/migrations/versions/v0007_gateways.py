"""Gateways, their enrolment and the bundles they were given."""

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables of this domain."""


def downgrade() -> None:
    """Remove them."""
