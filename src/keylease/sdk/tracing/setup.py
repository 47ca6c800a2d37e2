"""Sets OpenTelemetry up to send spans to the platform.

Protects: a lease is exchanged at its gateway, and never sent to the platform; one that is given in
    the place of a key is refused before anything is sent. A key is not sent without TLS beyond
    this machine, and stands in no message.
Does not protect: what functions are given and give is recorded; the platform masks what looks like
    a secret before it writes, but it has crossed the network then. ``traced`` can leave it out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from keylease.contracts.leases import LEASE_PREFIX
from keylease.errors import NotSignedIn, SettingsInvalid
from keylease.primitives.clock import SystemClock
from keylease.sdk.platform import check_address
from keylease.sdk.tracing.trace_tokens import TraceTokens, check_lease
from keylease.sdk.tracing.traced import is_installed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

PROJECT_HEADER: Final = "x-keylease-project"
_PATH: Final = "/v1/traces"
_ENVIRONMENT: Final = "deployment.environment.name"
_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_FLUSH_SECONDS: Final = 10.0
_TOLD_LATER: Final = "https://platform.invalid"
"""Stands for an address that the gateway says with the first token."""

Lease = str | Callable[[], str]
"""A lease, or what gives the present one: it is asked once for each trace token, in the thread that
sends."""


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where spans go, and as whose."""

    server: str
    """The platform's address, such as ``https://keylease.example.com``. With a lease it may be
    empty: the gateway says it."""
    api_key: str = ""
    """An ingest key, or an API key that holds ``trace:ingest``."""
    project: str = ""
    """Name or identifier; empty is the key's own, or that of the lease's calls."""
    lease: Lease = ""
    """In the place of a key; exchanged at ``gateway``."""
    gateway: str = ""

    @property
    def is_leased(self) -> bool:
        """Whether spans are sent with a lease."""
        return bool(self.lease)

    def tokens(self) -> TraceTokens:
        """What exchanges the lease. Raises ``SettingsInvalid``."""
        if isinstance(self.lease, str):
            check_lease(self.lease)
        if not self.gateway:
            raise SettingsInvalid(
                "There is a lease, and no gateway to exchange it at.",
                advice="Set KEYLEASE_GATEWAY_URL, or give `gateway`; under `keylease run` it is.",
            )
        return TraceTokens(self.gateway, self.present_lease, server=self.server, clock=_CLOCK)

    def present_lease(self) -> str:
        """The lease to exchange now."""
        return self.lease if isinstance(self.lease, str) else self.lease()

    def __repr__(self) -> str:
        return f"Destination(server={self.server!r}, project={self.project!r}, ********)"


_CLOCK: Final = SystemClock()


class Tracing:
    """What ``init`` has set up."""

    def __init__(self, provider: TracerProvider | None) -> None:
        self._provider = provider

    @property
    def active(self) -> bool:
        """Whether spans are sent; not without ``keylease[tracing]``."""
        return self._provider is not None

    def flush(self, *, seconds: float = _FLUSH_SECONDS) -> bool:
        """Send what has ended so far; whether all of it was sent in time.

        At the end of a program this happens by itself.
        """
        return self._provider is None or self._provider.force_flush(int(seconds * 1000))


def start(
    destination: Destination,
    *,
    service: str = "",
    environment: str = "",
    resource: Mapping[str, Any] | None = None,
    exporter: SpanExporter | None = None,
) -> Tracing:
    """Send every span of this program to the platform from now on.

    A provider of spans that the program has set up already is kept, and its spans are sent to the
    platform, too; then the resource stays as it is there. Raises ``NotSignedIn`` without a key or
    a lease, and ``SettingsInvalid`` for an address that neither is sent to.
    """
    _check(destination)
    if not is_installed():
        warnings.warn(
            "No spans are recorded: OpenTelemetry is not installed. Install keylease[tracing].",
            RuntimeWarning,
            stacklevel=3,
        )
        return Tracing(None)
    from opentelemetry import trace  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above

    said: dict[str, Any] = dict(resource or {})
    if service:
        said["service.name"] = service
    if environment:
        said[_ENVIRONMENT] = environment
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        # Beside what is said here stands what OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say.
        provider = TracerProvider(resource=Resource.create(said))
        trace.set_tracer_provider(provider)
    elif said:
        warnings.warn(
            "This program has set up OpenTelemetry itself; its own service and resource stand.",
            RuntimeWarning,
            stacklevel=3,
        )
    provider.add_span_processor(BatchSpanProcessor(exporter or exporter_to(destination)))
    return Tracing(provider)


def exporter_to(destination: Destination) -> SpanExporter:
    """OTLP over HTTP, compressed unless the platform is on this machine."""
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415 - an extra
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - as above
        OTLPSpanExporter,
    )

    headers = {PROJECT_HEADER: destination.project} if destination.project else {}
    session = None
    if destination.is_leased:
        from keylease.sdk.tracing.leased_session import (  # noqa: PLC0415 - as above
            LeasedSession,
        )

        session = LeasedSession(destination.tokens(), path=_PATH)
    else:
        headers["authorization"] = f"Bearer {destination.api_key}"
    near = urlsplit(destination.server).hostname in _THIS_MACHINE
    return OTLPSpanExporter(
        endpoint=(destination.server or _TOLD_LATER).rstrip("/") + _PATH,
        headers=headers,
        compression=Compression.NoCompression if near else Compression.Gzip,
        session=session,
    )


def _check(destination: Destination) -> None:
    key = destination.api_key
    if destination.is_leased:
        if key:
            raise SettingsInvalid("Spans are sent with a key or with a lease, not with both.")
        if destination.server:
            check_address(destination.server, what="A trace token")
        destination.tokens()
        return
    if not key:
        raise NotSignedIn(
            "There is no key and no lease to send spans with.",
            advice="Set KEYLEASE_API_KEY to an ingest key, run the program under `keylease run`, "
            "or give `api_key` or `lease`; see docs/guides/tracing-python.md.",
        )
    if key.startswith(LEASE_PREFIX):
        raise SettingsInvalid(
            "A lease is no key: it is exchanged at its gateway, and not sent to the platform.",
            advice="Give it as `lease` (KEYLEASE_LEASE), or use an ingest key (kl_ing_...).",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsInvalid("The API key has characters that no key has.")
    check_address(destination.server)
