"""What every test of the platform may use."""

from tests.support.databases import clock, database, database_url, postgres

__all__ = ["clock", "database", "database_url", "postgres"]
