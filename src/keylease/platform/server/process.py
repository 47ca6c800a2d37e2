"""The platform's process: from its configuration to a server that answers.

1. Take the data directory (one server at a time) and keep it to ourselves.
2. Open the database, bring its schema up to date, and see that it and the directory belong
   together.
3. Join the services and start their background work.
4. At the first start: an organization with its owner, a first policy, a place for the gateway.
5. Answer, and say so. SIGTERM lets requests end first.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import uvicorn

from keylease.errors import ConfigurationError, DataDirectoryLocked, PortInUse
from keylease.platform.db.backups import BackUps
from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate
from keylease.platform.server.app import create_server
from keylease.platform.server.assembly import Surroundings, assembled
from keylease.platform.server.belonging import check_belonging
from keylease.platform.server.configuration import ServerConfiguration, ServerReady
from keylease.platform.server.first_start import begin, share_fingerprint_keys
from keylease.platform.server.given import Given
from keylease.platform.server.otlp_grpc import otlp_grpc
from keylease.platform.server.services import Services
from keylease.primitives.clock import Clock

_DATABASE_FILE: Final = "platform.sqlite"
_BACKLOG: Final = 1024
_CONCURRENT: Final = 512
_DRAIN_SECONDS: Final = 20
_COLLECT_AFTER: Final = 20_000
"""Objects made and not let go."""


async def serve(
    configuration: ServerConfiguration,
    *,
    clock: Clock,
    posture: str = "",
    given: Given | None = None,
) -> None:
    """Run until SIGTERM or SIGINT. ``posture`` says what the process has given up."""
    given = given or Given()
    directory = Path(configuration.data_directory)
    with _owned(directory), _bound(configuration) as listener:
        url = configuration.database_url or sqlite_url(directory / _DATABASE_FILE)
        database = Database(url, clock=clock)
        try:
            backups = BackUps(
                directory=directory,
                pg_dump=configuration.pg_dump,
                waived=configuration.without_backup,
            )
            await migrate(database, backups=backups)
            await check_belonging(database, directory)
            surroundings = Surroundings(
                data_directory=directory,
                public_url=public_url(configuration, listener),
                same_machine=configuration.same_machine,
                private_hosts=frozenset(configuration.private_hosts),
                posture=posture,
                promises_file=(
                    Path(configuration.promises_file) if configuration.promises_file else None
                ),
                trace_store=given.trace_store,
            )
            async with (
                assembled(database, clock=clock, surroundings=surroundings) as services,
                _grpc(configuration, services),
            ):
                hosts = {urlsplit(surroundings.public_url).hostname or "", configuration.host}
                app = create_server(
                    services,
                    hosts=hosts,
                    secure=surroundings.public_url.startswith("https://"),
                )
                server = _Server(_uvicorn(configuration, app))
                _calm_collector()
                # It holds a sign-in link and a code: taken out when it is said, and kept nowhere.
                first_words = [await _first_words(services, configuration, surroundings, given)]
                await server.run_until_told(
                    listener,
                    when_ready=lambda: _say_ready(configuration, first_words.pop()),
                    when_stopping=services.stop_waiting,
                )
        finally:
            await database.close()


def _calm_collector() -> None:
    """Let Python look for cycles less often: in spans there are none.

    A block of spans is tens of thousands of objects that live for a moment; with the usual
    threshold of 700 a fifth of the time that they take would go into looking at them. What was
    imported stays for good and is left out of it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 50)


def _grpc(
    configuration: ServerConfiguration, services: Services
) -> contextlib.AbstractAsyncContextManager[object]:
    if not configuration.otlp_grpc:
        return contextlib.nullcontext()
    return otlp_grpc(services.spans, configuration.otlp_grpc, clock=services.clock)


def public_url(configuration: ServerConfiguration, listener: socket.socket) -> str:
    """How the server is reached. Raises ``ConfigurationError``."""
    if not configuration.public_url:
        return f"http://localhost:{listener.getsockname()[1]}"
    parts = urlsplit(configuration.public_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
        raise ConfigurationError(
            "The public URL must be a scheme, a host and a port.",
            advice="For example https://keylease.example.com.",
        )
    return configuration.public_url.rstrip("/")


class _Server(uvicorn.Server):
    """uvicorn, ended by our signal handlers: its own end the process before it has cleaned up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to us."""
        yield

    async def run_until_told(
        self,
        listener: socket.socket,
        *,
        when_ready: Callable[[], None],
        when_stopping: Callable[[], None],
    ) -> None:
        """Serve until SIGTERM or SIGINT; requests under way end first.

        ``when_stopping`` lets requests that only wait for something answer at once.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, when_stopping)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(self.serve(sockets=[listener]))
            while not (self.started or serving.done()):  # noqa: ASYNC110 - uvicorn offers no event
                await asyncio.sleep(0.01)
            if self.started:
                when_ready()

    def _stop(self, when_stopping: Callable[[], None]) -> None:
        self.force_exit = self.should_exit  # told twice: at once
        self.should_exit = True
        when_stopping()


def _uvicorn(configuration: ServerConfiguration, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # uvicorn's own protocol types differ from Starlette's in name only
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(configuration.trusted_proxies),
        forwarded_allow_ips=list(configuration.trusted_proxies),
        limit_concurrency=_CONCURRENT,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        h11_max_incomplete_event_size=None,
    )


@contextlib.contextmanager
def _owned(directory: Path) -> Iterator[None]:
    """Hold the directory; the lock goes with the process, however it ends."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise DataDirectoryLocked(
            f"Another server works in {directory}.", advice="Stop it, or use another directory."
        ) from error
    try:
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _bound(configuration: ServerConfiguration) -> Iterator[socket.socket]:
    host, port = configuration.host, configuration.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # So that a restart does not wait for old connections. It shares no listening port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            raise PortInUse(
                f"The server cannot listen on {host}:{port}: {error.strerror}.",
                advice="Choose another port with --server-port.",
            ) from error
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
        yield listener


async def _first_words(
    services: Services,
    configuration: ServerConfiguration,
    surroundings: Surroundings,
    given: Given,
) -> bytes:
    begun = await begin(services, configuration)
    await share_fingerprint_keys(services, given.fingerprint_keys)
    ready = ServerReady(
        url=surroundings.public_url,
        sign_in_link=begun.sign_in_link,
        enrolment_code=begun.enrolment_code,
        posture=surroundings.posture,
    )
    return msgspec.json.encode(ready) + b"\n"


def _say_ready(configuration: ServerConfiguration, line: bytes) -> None:
    if configuration.ready is not None:
        os.write(configuration.ready, line)
        os.close(configuration.ready)
