"""The API's routes: one file per resource, each with a ``router``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease.platform.server.routes import audit, health

if TYPE_CHECKING:
    from fastapi import APIRouter


def all_routers() -> tuple[APIRouter, ...]:
    """Every router, in the order of the OpenAPI document."""
    return (health.router, audit.router)
