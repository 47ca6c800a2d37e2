"""What every test of a served platform may use."""

from tests.support.databases import (
    clock,
    database,
    database_url,
    migrated_postgres,
    migrated_sqlite,
    migrated_url,
    postgres,
)

__all__ = [
    "clock",
    "database",
    "database_url",
    "migrated_postgres",
    "migrated_sqlite",
    "migrated_url",
    "postgres",
]
