"""Record what a program does, and find it again on the platform.

    import keylease.tracing

    keylease.tracing.init(service="shop", project="apollo")

    @keylease.tracing.traced(kind="agent")
    def answer(question: str) -> str: ...

The key comes from ``KEYLEASE_API_KEY`` and the address from ``KEYLEASE_SERVER_URL``, or from the
settings file, unless they are given. Without a key a lease does: it comes from ``KEYLEASE_LEASE``,
and is exchanged at the gateway of ``KEYLEASE_GATEWAY_URL``; ``keylease run`` sets both. Anything
more is OpenTelemetry itself.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from typing import Any, Final

from keylease.errors import SettingsInvalid
from keylease.sdk.tracing.propagation import propagate
from keylease.sdk.tracing.recording import Kind
from keylease.sdk.tracing.setup import Destination, Lease, Tracing, start
from keylease.sdk.tracing.trace_tokens import origin_of
from keylease.sdk.tracing.traced import traced
from keylease.settings import load

__all__ = ["Kind", "Tracing", "init", "propagate", "traced"]
_started: Final[list[Tracing]] = []
"""At most one: a process has one provider of spans, which OpenTelemetry keeps globally, too."""
_starting: Final = threading.Lock()


def init(  # noqa: PLR0913 - by keyword; each is one thing that a program may say
    *,
    server: str = "",
    api_key: str = "",
    lease: Lease = "",
    gateway: str = "",
    project: str = "",
    service: str = "",
    environment: str = "",
    resource: Mapping[str, Any] | None = None,
) -> Tracing:
    """Send every span of this program to the platform from now on.

    With an ``api_key``, or with a ``lease`` (or what gives the present one) that is exchanged for
    trace tokens at ``gateway``, in the background and again before they end. ``project`` is a name
    or an identifier, by default the key's own project; the spans of a lease go where its calls go.
    ``service`` and ``environment`` say what sends; ``resource`` are further attributes of it.
    Called again it changes nothing. Raises ``NotSignedIn`` without a key and a lease, and
    ``SettingsInvalid`` for both, for a lease in the place of a key, or for an address that neither
    is sent to. Without ``keylease[tracing]`` it warns, and nothing is recorded.
    """
    with _starting:
        if _started:
            warnings.warn("Tracing has been set up already.", RuntimeWarning, stacklevel=2)
            return _started[0]
        settings = load({}).settings
        port = settings.server_listen.rpartition(":")[2]
        known = server or settings.server_url or settings.public_url
        here = f"http://localhost:{port}"
        key = api_key or ("" if lease else settings.api_key)
        if not lease and not key:
            lease = settings.lease
        destination = Destination(
            # A gateway says where its platform is; a key says nothing.
            server=(known or ("" if lease else here)).rstrip("/"),
            api_key=key,
            project=project,
            lease=lease,
            gateway=(gateway or settings.gateway_url) if lease else "",
        )
        if lease and origin_of(destination.gateway) == origin_of(here):
            raise SettingsInvalid(
                "The gateway's address is that of this machine's platform.",
                advice="A lease is never sent to the platform; see KEYLEASE_GATEWAY_URL.",
            )
        tracing = start(destination, service=service, environment=environment, resource=resource)
        _started.append(tracing)
        return tracing
