"""The real platform, served by uvicorn in a thread: for gateways that are real processes.

with serving_platform(tmp_path) as platform:
    code = platform.do(lambda: platform.gateways.create_code(platform.owner, group="local"))

Sign-in is not used: what people would do by API is done through the services. Entering again with
the same directory and port is a restart.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import uvicorn
from starlette.types import ASGIApp
from tests.support.home_databases import database_of
from tests.support.platform_kit import services_for
from tests.support.ports import free_port

from keylease.contracts.principals import Principal, PrincipalKind
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.migrate import migrate
from keylease.platform.gateways.service import GatewayService
from keylease.platform.policy.domain import Policy
from keylease.platform.records.service import RecordService
from keylease.platform.server.app import create_server
from keylease.platform.server.link_assembly import Link
from keylease.platform.server.services import Services
from keylease.primitives.clock import SystemClock

Result = TypeVar("Result")
_SECONDS = 60


class ServingPlatform:
    """What tests need of it."""

    def __init__(
        self, services: Services, loop: asyncio.AbstractEventLoop, port: int, owner: Caller
    ) -> None:
        self.services = services
        self.owner = owner
        """Of the organization that a first start makes."""
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._loop = loop

    @property
    def link(self) -> Link:
        assert self.services.link is not None
        return self.services.link

    @property
    def gateways(self) -> GatewayService:
        return self.link.gateways

    @property
    def records(self) -> RecordService:
        return self.link.records

    @property
    def policy(self) -> Policy:
        policy = self.services.policy
        assert isinstance(policy, Policy)
        return policy

    def do(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Run something in the platform's loop, and wait for it."""

        async def run() -> Result:
            return await work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=_SECONDS)


@contextlib.contextmanager
def serving_platform(
    directory: Path, *, port: int = 0, wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app
) -> Iterator[ServingPlatform]:
    """Serve until the block ends; ``wrap`` stands between the platform and who asks it."""
    port = port or free_port()
    directory.mkdir(mode=0o700, exist_ok=True)
    started: concurrent.futures.Future[tuple[ServingPlatform, uvicorn.Server]] = (
        concurrent.futures.Future()
    )

    async def serve() -> None:
        clock = SystemClock()
        database = Database(database_of(directory), clock=clock)
        try:
            await migrate(database)
            async with services_for(database, clock, directory) as services:
                app = wrap(create_server(services, hosts=["127.0.0.1"]))
                configuration = uvicorn.Config(
                    app,
                    host="127.0.0.1",
                    port=port,
                    lifespan="off",
                    log_config=None,
                    timeout_graceful_shutdown=10,
                )
                server = _Server(configuration)
                loop, owner = asyncio.get_running_loop(), await _owner(services)
                server.platform = ServingPlatform(services, loop, port, owner)
                server.ready = started
                await server.serve()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise
        finally:
            await database.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    platform, server = started.result(timeout=_SECONDS)
    try:
        yield platform
    finally:
        server.should_exit = True
        # As the process does it when it is told to stop.
        platform._loop.call_soon_threadsafe(platform.services.stop_waiting)
        thread.join(timeout=_SECONDS)
        assert not thread.is_alive()


async def _owner(services: Services) -> Caller:
    assert services.directory is not None
    async with services.database.transaction() as tx:
        user = await services.directory.owner_to_set_up(tx)
    return Caller(
        principal=Principal(PrincipalKind.USER, user.id), organization_id=user.organization_id
    )


class _Server(uvicorn.Server):
    platform: ServingPlatform
    ready: concurrent.futures.Future[tuple[ServingPlatform, uvicorn.Server]]

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: object = None) -> None:
        del sockets
        await super().startup()
        self.ready.set_result((self.platform, self))
