"""The platform for tests: its services joined as the server joins them, and a client of it.

async with services_for(database, clock, tmp_path) as services:
    async with client_of(server_of(services)) as client: ...
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
from starlette.types import ASGIApp

from keylease.platform.db.database import Database
from keylease.platform.server.app import create_server
from keylease.platform.server.assembly import Surroundings, assembled
from keylease.platform.server.services import Services
from keylease.primitives.clock import Clock

HOST = "localhost"
PUBLIC_URL = f"http://{HOST}:4140"


def services_for(
    database: Database, clock: Clock, directory: Path
) -> AbstractAsyncContextManager[Services]:
    """Every service, as the server has them."""
    surroundings = Surroundings(data_directory=directory, public_url=PUBLIC_URL)
    return assembled(database, clock=clock, surroundings=surroundings)


def server_of(services: Services) -> ASGIApp:
    """What is served, edge included."""
    return create_server(services, hosts=[HOST])


def client_of(app: ASGIApp, **headers: str) -> httpx.AsyncClient:
    """A client that talks to the application in this process."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL, headers=headers)
