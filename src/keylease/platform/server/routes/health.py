"""Whether the process lives, and whether it can work."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel

from keylease.platform.server.guard import open_to_all
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.services import services_of

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


@router.get("/healthz")
async def healthz(_: Annotated[None, open_to_all()]) -> Health:
    """Say that the process lives; asks nothing else."""
    return Health()


@router.get("/readyz", responses=problem_responses(503))
async def readyz(request: Request, _: Annotated[None, open_to_all()]) -> Health:
    """Say that the database answers."""
    await services_of(request).database.check()
    return Health()
