"""Passwords, passkeys, second factors, sessions, outside issuers, devices."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables of this domain."""


def downgrade() -> None:
    """Remove them."""
