"""A small stand-in for the API server of Kubernetes: lists in pages, bearer tokens, bad moods.

It follows the API conventions: ``kind: SecretList``, ``items``, ``metadata.continue`` for the next
page, ``limit``, 401 without the token, 403 with a ``Status``, 429 with ``Retry-After``.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-of-the-test"


class Api:
    """What it serves, and what it saw."""

    def __init__(self) -> None:
        self.port = 0
        self.objects: dict[str, list[dict[str, Any]]] = {}
        self.denied: set[str] = set()
        self.throttled: dict[str, int] = {}
        """How often the path is answered with 429 before it is served."""
        self.raw: dict[str, bytes] = {}
        """An answer's body as it is, instead of a list."""
        self.endless: set[str] = set()
        """Paths whose pages never end."""
        self.seen: list[str] = []

    def kubeconfig(self, path: Path, *, token: str = TOKEN, **cluster: object) -> Path:
        entry = {"server": f"http://127.0.0.1:{self.port}", **cluster}
        path.write_text(
            json.dumps(
                {
                    "current-context": "prod-eu",
                    "contexts": [{"name": "prod-eu", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": entry}],
                    "users": [{"name": "u", "user": {"token": token}}],
                }
            )
        )
        return path

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        if path in self.denied:
            return 403, {}, json.dumps({"kind": "Status", "code": 403}).encode()
        if self.throttled.get(path, 0):
            self.throttled[path] -= 1
            return 429, {"Retry-After": "0"}, b""
        if path in self.raw:
            return 200, {}, self.raw[path]
        items = self.objects.get(path, [])
        limit, start = int(query["limit"][0]), int(query.get("continue", ["0"])[0])
        following = str(start + limit) if start + limit < len(items) else ""
        if path in self.endless:
            following = "0"
        page = {"metadata": {"continue": following}, "items": items[start : start + limit]}
        return 200, {}, json.dumps(page).encode()


@contextlib.contextmanager
def kubernetes_api() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            api.seen.append(parts.path)
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                answer: tuple[int, dict[str, str], bytes] = (401, {}, b"{}")
            else:
                answer = api.answer(parts.path, parse_qs(parts.query))
            status, headers, body = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
