"""One migrated PostgreSQL database that is used by test after test, emptied before each.

Making and dropping a database costs a fifth of a second, emptying one a fiftieth. A test that
changes tables themselves makes the next one pay for a new copy, and cannot be noticed otherwise.
"""

from __future__ import annotations

import asyncio

import asyncpg
from tests.support.postgres import PostgresServer

_NAME = "emptied"
_DISCONNECT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_EMPTY = """
DO $$
DECLARE
    found record;
BEGIN
    SET LOCAL session_replication_role = replica;  -- in any order: no foreign key is looked at
    FOR found IN SELECT oid::regclass AS name, relkind AS kind FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')
        AND relname <> 'alembic_version'
    LOOP
        IF found.kind = 'S' THEN
            EXECUTE format('ALTER SEQUENCE %s RESTART', found.name);
        ELSE
            EXECUTE format('DELETE FROM %s', found.name);
        END IF;
    END LOOP;
END $$
"""
_SHAPE = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
    SELECT format('%s %s %s %s', attrelid::regclass, attname, atttypid::regtype, attnotnull)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND NOT attisdropped
    UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT format('%s %s', tgrelid::regclass, tgname)
    FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT version_num FROM alembic_version
) AS lines(line)
"""


class EmptiedDatabase:
    """A copy of a migrated database, which one test after another uses."""

    def __init__(self, server: PostgresServer, *, template: str) -> None:
        self._server = server
        self._template = template
        self._url = server.create_database(_NAME, template=template)
        self._shape = self._run()

    def for_next(self) -> str:
        """Empty it and give its address; what is still connected is cut off."""
        if self._run() != self._shape:
            self._server.drop_database(_NAME)
            self._server.create_database(_NAME, template=self._template)
        return self._url

    def _run(self) -> str:
        # A loop of its own, made so that the current loop of the thread is left alone.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(_emptied(self._url))


async def _emptied(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_DISCONNECT)
        shape: str = await connection.fetchval(_SHAPE)
        await connection.execute(_EMPTY)
    finally:
        await connection.close()
    return shape
