"""What columns are made of, and the one ``MetaData`` all tables belong to."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""The only object at module level that registers itself; it opens nothing."""

IDENTIFIER_LENGTH: Final = 36


def identifier(
    name: str = "id", *, primary_key: bool = False, nullable: bool = False
) -> Column[str]:
    """A UUID in its text form."""
    return Column(name, String(IDENTIFIER_LENGTH), primary_key=primary_key, nullable=nullable)


def organization() -> Column[str]:
    """The tenant; first in every index that is searched by it."""
    return Column("organization_id", String(IDENTIFIER_LENGTH), nullable=False)


def moment(name: str, *, nullable: bool = False) -> Column[int]:
    """Microseconds UTC."""
    return Column(name, BigInteger, nullable=nullable)


def label(name: str, *, length: int = 200, nullable: bool = False) -> Column[str]:
    """Text for people, bounded."""
    return Column(name, String(length), nullable=nullable)


def document(name: str, *, nullable: bool = False) -> Column[bytes]:
    """A msgspec shape as JSON. Bytes, so that what was signed or hashed stays what it was."""
    return Column(name, LargeBinary, nullable=nullable)


def version() -> Column[int]:
    """Counts up with every change; the ``ETag`` of the resource."""
    return Column("version", BigInteger, nullable=False, default=1)
