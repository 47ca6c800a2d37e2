"""Organizations, projects, environments, users, service accounts, groups, invitations, contacts."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables of this domain."""


def downgrade() -> None:
    """Remove them."""
