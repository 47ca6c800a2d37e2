"""Sets OpenTelemetry up to send spans to the platform.

Protects: a lease is refused before anything is sent, because it must not travel to the platform;
    a key is not sent without TLS beyond this machine, and stands in no message.
Does not protect: what functions are given and give is recorded; the platform masks what looks like
    a secret before it writes, but it has crossed the network then. ``traced`` can leave it out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from keylease.contracts.leases import LEASE_PREFIX
from keylease.errors import NotSignedIn, SettingsInvalid
from keylease.sdk.platform import check_address
from keylease.sdk.tracing.traced import is_installed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

PROJECT_HEADER: Final = "x-keylease-project"
_PATH: Final = "/v1/traces"
_ENVIRONMENT: Final = "deployment.environment.name"
_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_FLUSH_SECONDS: Final = 10.0


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where spans go, and as whose."""

    server: str
    """The platform's address, such as ``https://keylease.example.com``."""
    api_key: str
    """An ingest key, or an API key that holds ``trace:ingest``."""
    project: str = ""
    """Name or identifier; empty is the key's own."""

    def __repr__(self) -> str:
        return f"Destination(server={self.server!r}, api_key=********, project={self.project!r})"


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
    platform, too; then the resource stays as it is there. Raises ``NotSignedIn`` without a key and
    ``SettingsInvalid`` for a lease or an address that a key is not sent to.
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

    headers = {"authorization": f"Bearer {destination.api_key}"}
    if destination.project:
        headers[PROJECT_HEADER] = destination.project
    near = urlsplit(destination.server).hostname in _THIS_MACHINE
    return OTLPSpanExporter(
        endpoint=destination.server.rstrip("/") + _PATH,
        headers=headers,
        compression=Compression.NoCompression if near else Compression.Gzip,
    )


def _check(destination: Destination) -> None:
    key = destination.api_key
    if not key:
        raise NotSignedIn(
            "There is no key to send spans with.",
            advice="Set KEYLEASE_API_KEY to an ingest key, or give `api_key`; see "
            "docs/guides/traces-sending.md.",
        )
    if key.startswith(LEASE_PREFIX):
        raise SettingsInvalid(
            "A lease opens models at a gateway; it does not send spans.",
            advice="Use an ingest key (kl_ing_...).",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsInvalid("The API key has characters that no key has.")
    check_address(destination.server)
