"""A project's spans as one Parquet file, by API.

The file is written without a name in the store's directory, so that it is gone when it was sent,
however that ends. The audit log has the export before its first byte leaves.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from typing import IO, Final

from keylease.contracts.audit import AuditAction
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.traces.keeping import Keeping
from keylease.platform.traces.opening import WhenNeeded
from keylease.primitives.files import make_private_directory

_CHUNK: Final = 256 * 1024
LATEST: Final = 2**53


async def exported(
    database: Database,
    needed: WhenNeeded[Keeping],
    caller: Caller,
    project_id: str,
    *,
    since: int,
    until: int,
) -> AsyncIterator[bytes]:
    """The file's bytes. ``since`` and ``until`` are microseconds UTC of ``sort_at``.

    Raises ``TraceStoreUnavailable`` before anything is sent.
    """
    keeping = await needed()
    async with database.transaction(caller) as tx:
        details = {"since": str(since), "until": str(until)}
        await tx.record(AuditAction.TRACES_EXPORTED, project_id, details=details)
    file = await keeping.read_long(lambda: _written(keeping, caller, project_id, since, until))
    return _chunks(keeping, file)


def _written(
    keeping: Keeping, caller: Caller, project_id: str, since: int, until: int
) -> IO[bytes]:
    from keylease.platform.traces.store.export import (  # noqa: PLC0415 - Arrow's Parquet is heavy
        export_spans,
    )

    directory = keeping.directory / "exports"
    make_private_directory(directory)
    file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by whoever sends it
    try:
        export_spans(
            keeping.store,
            file,
            organization_id=caller.organization_id,
            project_id=project_id,
            since=since,
            until=until,
        )
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


async def _chunks(keeping: Keeping, file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while chunk := await keeping.read(lambda: file.read(_CHUNK)):
            yield chunk
