"""The platform's application on a port, with a door that a test watches; for the command line."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import uvicorn
from tests.support.eventually import eventually
from tests.support.home_databases import database_of
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for
from tests.support.policy_kit import ADA, BOB
from tests.support.ports import free_port

from keylease.errors import SignInRequired
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.migrate import migrate
from keylease.platform.db.transaction import Transaction
from keylease.platform.policy.interfaces import GroupMembers
from keylease.platform.server.app import create_server
from keylease.platform.server.guard import Evidence

HOST = "127.0.0.1"


class ServedPolicy:
    """Ada and Bob are let in by a word; both may do everything."""

    def __init__(self) -> None:
        self.url = ""
        self.second_approver = False

    async def authenticate(self, evidence: Evidence) -> Caller:
        known = {"Bearer ada": ADA, "Bearer bob": BOB}
        if evidence.authorization not in known:
            raise SignInRequired("Who are you?")
        return known[evidence.authorization]

    async def require(
        self, caller: Caller, permission: Permission, *, project_id: str = "", object_id: str = ""
    ) -> None:
        """Allow everything."""

    async def needs_second_approver(self, tx: Transaction, organization_id: str) -> bool:
        del tx, organization_id
        return self.second_approver

    async def principal_exists(self, tx: Transaction, organization_id: str, principal: str) -> bool:
        del tx, organization_id
        return principal in {ADA.name, BOB.name}

    async def holder_exists(self, tx: Transaction, organization_id: str, holder: str) -> bool:
        return await self.principal_exists(tx, organization_id, holder)

    async def group_members(self, tx: Transaction, organization_id: str) -> GroupMembers:
        del tx, organization_id
        return {}


@contextmanager
def served_policy(directory: Path) -> Iterator[ServedPolicy]:
    """A server on a free port, until the block ends."""
    door = ServedPolicy()
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        clock = ManualClock()
        database = Database(database_of(directory), clock=clock)
        await migrate(database)
        async with services_for(database, clock, directory) as joined:
            services = replace(joined, authenticator=door, access=door)
            assert services.policy is not None
            services.policy.publisher._organizations = door
            services.policy.resources._organizations = door
            port = free_port()
            server = uvicorn.Server(
                uvicorn.Config(
                    create_server(services, hosts=[HOST]),
                    host=HOST,
                    port=port,
                    lifespan="off",
                    ws="none",
                    log_config=None,
                )
            )
            servers.append(server)
            door.url = f"http://{HOST}:{port}"
            await server.serve()
        await database.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="served policy")
    thread.start()
    try:
        asyncio.run(eventually(lambda: servers and servers[0].started, seconds=60))
        yield door
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
