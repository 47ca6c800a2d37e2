"""The platform's application for tests: services by hand, a client with the right host."""

from __future__ import annotations

import httpx
from starlette.types import ASGIApp

HOST = "localhost"


def client_of(app: ASGIApp, **headers: str) -> httpx.AsyncClient:
    """A client that talks to the application in this process."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}", headers=headers)
