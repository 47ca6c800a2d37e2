"""By which names of secrets are linked with the secrets they stand for.

What was scanned before is filled in from what is kept of it; what it refers to inside of Kubernetes
the next scan says.
"""

import json
import re

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
_AT_ONCE = 500
_FORGES = {"github": "github.com", "gitlab": "gitlab.com"}
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[^a-z0-9]+")


def _called(name: str) -> str:
    return _SEPARATORS.sub("_", _CAMEL.sub("_", name).lower()).strip("_")[:200]


def _object(kind: str, path: str, document: bytes) -> str:
    """The secret of Kubernetes in which a value lies."""
    if kind == "kubernetes_manifest":
        try:
            text = str(json.loads(document).get("detail", ""))
        except (ValueError, AttributeError):
            return ""
    elif kind == "kubernetes_cluster":
        text = path.partition(": ")[2]
    else:
        return ""
    thing, _, whole = text.partition(" ")
    return whole.rpartition("/")[2][:300] if thing.lower() == "secret" else ""


def _reach(kind: str, path: str, repository: str, source_id: str) -> str:
    """Within which one name is mostly one secret."""
    forge, _, container = path.partition(":")
    if repository:
        found = f"repository:{repository.casefold()}"
    elif kind == "ci_secret" and forge in _FORGES and "/" in container:
        found = f"repository:{_FORGES[forge]}/{container.casefold()}"
    elif kind == "kubernetes_cluster":
        found = f"cluster:{path.partition(': ')[0]}"
    else:
        found = f"source:{source_id}"
    return found[:600]


def upgrade() -> None:
    """Make the table, and fill it."""
    op.create_table(
        "inventory_names",
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("location_id", sa.String(length=36), nullable=False),
        sa.Column("called", sa.String(length=200), nullable=False),
        sa.Column("reach", sa.String(length=600), nullable=False),
        sa.Column("object", sa.String(length=300), nullable=False),
        sa.Column("refers_to", sa.String(length=300), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.ForeignKeyConstraint(
            ["location_id"],
            ["inventory_locations.id"],
            name=op.f("fk_inventory_names_location_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("location_id", name=op.f("pk_inventory_names")),
    )
    op.create_index(
        "ix_inventory_names_called", "inventory_names", ["organization_id", "called"], unique=False
    )
    op.create_index(
        "ix_inventory_names_object", "inventory_names", ["organization_id", "object"], unique=False
    )
    places = sa.table(
        "inventory_locations",
        sa.column("id", sa.String),
        sa.column("organization_id", sa.String),
        sa.column("kind", sa.String),
        sa.column("path", sa.String),
        sa.column("name", sa.String),
        sa.column("repository", sa.String),
        sa.column("source_id", sa.String),
        sa.column("location", sa.LargeBinary),
    )
    names = sa.table(
        "inventory_names",
        *(
            sa.column(name, sa.String)
            for name in (
                "organization_id",
                "location_id",
                "called",
                "reach",
                "object",
                "refers_to",
                "reason",
            )
        ),
    )
    connection, after = op.get_bind(), ""
    while rows := connection.execute(
        sa.select(places).where(places.c.id > after).order_by(places.c.id).limit(_AT_ONCE)
    ).all():
        after = rows[-1].id
        filled = [
            {
                "organization_id": row.organization_id,
                "location_id": row.id,
                "called": called,
                "reach": _reach(row.kind, row.path, row.repository, row.source_id),
                "object": thing,
                "refers_to": "",
                "reason": "",
            }
            for row in rows
            for called, thing in [(_called(row.name), _object(row.kind, row.path, row.location))]
            if called or thing
        ]
        if filled:
            connection.execute(sa.insert(names), filled)
