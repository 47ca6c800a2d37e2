"""Removes spans that are older than their project keeps them, and the bytes of removed ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from keylease.errors import KeyleaseError
from keylease.platform.traces.keeping import Keeping
from keylease.platform.traces.opening import WhenNeeded
from keylease.platform.traces.project_settings import InForce
from keylease.primitives.clock import MICROSECONDS, Clock

_DAY: Final = 86_400 * MICROSECONDS
_EVERY_SECONDS: Final = 3600.0
CLEAN_SECONDS: Final = 300.0
"""How often the disk is looked at for what was removed."""
_OLDEST: Final = (
    "SELECT organization_id, project_id, toUnixTimestamp64Micro("
    "min(least(sort_at, created_at))) AS oldest "
    "FROM spans GROUP BY organization_id, project_id"
)


async def forget(keeping: Keeping, in_force: InForce, *, now: int) -> int:
    """Remove what is past its time; how many projects it was found in."""

    def before(organization_id: str, project_id: str) -> int | None:
        days = in_force.retention_days(organization_id, project_id)
        return None if days is None else now - days * _DAY

    await keeping.read(lambda: keeping.intake.set_aside.expire(before))
    found = await keeping.read(lambda: keeping.store.select(_OLDEST))
    removed = 0
    for row in found.dicts():
        organization_id, project_id = str(row["organization_id"]), str(row["project_id"])
        limit = before(organization_id, project_id)
        if limit is None or int(str(row["oldest"])) >= limit:
            continue
        removal = keeping.store.removal
        await keeping.read(lambda: removal.expire(organization_id, project_id, before=limit))  # noqa: B023 - used at once
        removed += 1
    if removed:
        await keeping.read(keeping.store.removal.purge)
    return removed


async def keep_forgetting(
    keeping: WhenNeeded[Keeping],
    in_force: InForce,
    clock: Clock,
    *,
    on_error: Callable[[BaseException], None],
) -> None:
    """Do so every hour while the store is open, until cancelled."""
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        if (opened := keeping.now) is None:
            continue
        try:
            await forget(opened, in_force, now=clock.now())
        except KeyleaseError:
            pass  # the store does not answer: in an hour again
        except Exception as error:  # noqa: BLE001 - a defect must not end the forgetting
            on_error(error)


async def clean(keeping: Keeping) -> None:
    """Take the bytes of what was removed from the disk: out of the store, and out of the log."""
    if await keeping.read(keeping.store.removal.is_due):
        await keeping.read(keeping.store.removal.purge)
    keeping.intake.log.turn_over()


async def keep_cleaning(
    keeping: WhenNeeded[Keeping], *, on_error: Callable[[BaseException], None]
) -> None:
    """Do so every few minutes while the store is open, until cancelled."""
    while True:
        await asyncio.sleep(CLEAN_SECONDS)
        if (opened := keeping.now) is None:
            continue
        try:
            await clean(opened)
        except KeyleaseError:
            pass  # the store does not answer, or a query still reads the files: later again
        except Exception as error:  # noqa: BLE001 - a defect must not end the cleaning
            on_error(error)
