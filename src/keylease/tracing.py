"""Record what a program does, and find it again on the platform.

    import keylease.tracing

    keylease.tracing.init(service="shop", project="apollo")

    @keylease.tracing.traced(kind="agent")
    def answer(question: str) -> str: ...

The key comes from ``KEYLEASE_API_KEY`` and the address from ``KEYLEASE_SERVER_URL``, or from the
settings file, unless they are given. Anything more is OpenTelemetry itself.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from typing import Any, Final

from keylease.sdk.tracing.propagation import propagate
from keylease.sdk.tracing.recording import Kind
from keylease.sdk.tracing.setup import Destination, Tracing, start
from keylease.sdk.tracing.traced import traced
from keylease.settings import load

__all__ = ["Kind", "Tracing", "init", "propagate", "traced"]
_started: Final[list[Tracing]] = []
"""At most one: a process has one provider of spans, which OpenTelemetry keeps globally, too."""
_starting: Final = threading.Lock()


def init(
    *,
    server: str = "",
    api_key: str = "",
    project: str = "",
    service: str = "",
    environment: str = "",
    resource: Mapping[str, Any] | None = None,
) -> Tracing:
    """Send every span of this program to the platform from now on.

    ``project`` is a name or an identifier, by default the key's own project; ``service`` and
    ``environment`` say what sends; ``resource`` are further attributes of it. Called again it
    changes nothing. Raises ``NotSignedIn`` without a key and ``SettingsInvalid`` for one that is a
    lease, or for an address that a key is not sent to. Without ``keylease[tracing]`` it warns, and
    nothing is recorded.
    """
    with _starting:
        if _started:
            warnings.warn("Tracing has been set up already.", RuntimeWarning, stacklevel=2)
            return _started[0]
        settings = load({}).settings
        port = settings.server_listen.rpartition(":")[2]
        url = server or settings.server_url or settings.public_url or f"http://localhost:{port}"
        destination = Destination(
            server=url.rstrip("/"), api_key=api_key or settings.api_key, project=project
        )
        tracing = start(destination, service=service, environment=environment, resource=resource)
        _started.append(tracing)
        return tracing
