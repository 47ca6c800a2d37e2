"""Credentials, routes, policy grants, budgets, trust rules, and their history."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables of this domain."""


def downgrade() -> None:
    """Remove them."""
