"""The simulator: two listeners on the loopback interface, one for each provider's wire format."""

from __future__ import annotations

import secrets
import ssl
from collections import deque
from typing import Final

import msgspec

from keylease.errors import PortInUse
from keylease.primitives.clock import MICROSECONDS, Clock, SystemClock
from keylease.primitives.http1.simple import Request, Response, SimpleServer, serve
from keylease.simulator.anthropic.surface import AnthropicSurface
from keylease.simulator.control import PREFIX, Control
from keylease.simulator.exchange import Json, ProviderName
from keylease.simulator.failures import Failure, Failures
from keylease.simulator.keys import KeyRing, digest_of
from keylease.simulator.limits import RateLimit
from keylease.simulator.openai.surface import OpenAISurface
from keylease.simulator.provider import Pace, SimulatedProvider, Surface, World
from keylease.simulator.recording import RecordedRequest, Recording
from keylease.simulator.usage import UsageLog

DEFAULT_PORT: Final = 4150
_DRAIN_SECONDS: Final = 0.2


class SimulatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a simulator starts. Times in seconds."""

    host: str = "127.0.0.1"
    openai_port: int = 0
    """0 takes a free port."""
    anthropic_port: int = 0
    latency: float = 0.0
    chunk_delay: float = 0.0
    slow_seconds: float = 5.0
    """How long ``sim-slow`` waits; ``sim-slow-stream`` waits a tenth of it before each piece."""
    requests_per_minute: int | None = None
    """Per key; ``None`` is unlimited."""
    accept_any_key: bool = False
    control_token: str = ""
    """Bearer of the control surface; empty makes a random one."""
    keep_requests: int = 10_000


class Simulator:
    """Simulated providers, for tests to start, question and stop."""

    def __init__(
        self,
        options: SimulatorOptions | None = None,
        *,
        clock: Clock | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """With ``tls`` both listeners speak https."""
        self._options = options = options or SimulatorOptions()
        self._tls = tls
        self._clock = clock or SystemClock()
        self.control_token = options.control_token or secrets.token_urlsafe(32)
        """Bearer of ``/_sim/*``."""
        self._world = World(
            clock=self._clock,
            keys=KeyRing(accept_any=options.accept_any_key),
            usage=UsageLog(),
            failures=Failures(slow_seconds=options.slow_seconds),
            recording=Recording(options.keep_requests),
            limit=RateLimit(options.requests_per_minute),
            pace=Pace(options.latency, options.chunk_delay),
        )
        self._control = Control(self.control_token, self._world)
        self._servers: dict[ProviderName, SimpleServer] = {}

    async def start(self) -> None:
        """Listen. Raises ``PortInUse``."""
        options = self._options
        await self._listen(ProviderName.OPENAI, OpenAISurface(), options.openai_port)
        await self._listen(ProviderName.ANTHROPIC, AnthropicSurface(), options.anthropic_port)
        self._world.elsewhere = f"{self._origin(ProviderName.ANTHROPIC)}/redirected"

    async def _listen(self, name: ProviderName, surface: Surface, port: int) -> None:
        provider = SimulatedProvider(name, surface, self._world)

        async def handle(request: Request) -> Response:
            if request.path.startswith(PREFIX):
                return self._control.handle(request)
            return await provider.handle(request)

        host = self._options.host
        try:
            self._servers[name] = await serve(handle, host=host, port=port, ssl=self._tls)
        except OSError as error:
            await self.stop()
            raise PortInUse(
                f"The simulator cannot listen on {host}:{port}: {error.strerror}.",
                advice="Give another --port; 0 takes free ones.",
            ) from error

    async def stop(self) -> None:
        """Close the listeners and every connection."""
        for server in self._servers.values():
            await server.close(drain_seconds=_DRAIN_SECONDS)
        self._servers.clear()

    def _origin(self, name: ProviderName) -> str:
        scheme = "https" if self._tls else "http"
        host, port = self._servers[name].addresses[0]
        return f"{scheme}://{host}:{port}"

    @property
    def openai_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"{self._origin(ProviderName.OPENAI)}/v1"

    @property
    def anthropic_url(self) -> str:
        """What an Anthropic client takes as its base URL."""
        return self._origin(ProviderName.ANTHROPIC)

    @property
    def control_url(self) -> str:
        """Where the control surface is."""
        return f"{self._origin(ProviderName.OPENAI)}/_sim"

    def accept_key(self, secret: bytes, *, provider: ProviderName | None = None) -> str:
        """Accept a key from now on; gives its identifier. Only its hash is kept."""
        return self.accept_key_hash(digest_of(secret), provider=provider)

    def accept_key_hash(self, sha256: str, *, provider: ProviderName | None = None) -> str:
        """Accept the key with this hex SHA-256 from now on; gives its identifier."""
        second = self._clock.now() // MICROSECONDS
        return self._world.keys.add(sha256, provider=provider, second=second).id

    def revoke(self, key_id: str) -> None:
        """Refuse a key from now on. Raises ``KeyError`` when there is none of this identifier."""
        if not self._world.keys.revoke(key_id):
            raise KeyError(key_id)

    def inject(self, failure: Failure) -> None:
        """Make matching calls fail from now on."""
        self._world.failures.inject(failure)

    def clear_failures(self) -> None:
        """Forget the injected failures."""
        self._world.failures.clear()

    @property
    def requests(self) -> deque[RecordedRequest]:
        """The requests so far, without what authenticates them."""
        return self._world.recording.requests

    @property
    def pace(self) -> Pace:
        """How fast answers are; may be changed."""
        return self._world.pace

    def usage(self) -> Json:
        """The usage log, in the shape of OpenAI's ``organization/usage/completions``."""
        return self._world.usage.page()
