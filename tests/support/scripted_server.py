"""A server in a thread that answers each request with the next of its answers, and keeps it.

For clients that block, and so cannot share a loop with the server they ask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class ScriptedServer:
    """Where it listens, what it will say and what it was told."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.statuses: list[int] = []
        """For the next requests; 200 when there is none."""
        self.headers: dict[str, str] = {}
        """Of every answer."""
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        """Path, head with names in lower case, body."""

    @property
    def shown(self) -> list[str]:
        """What each request showed as who sends it."""
        return [head.get("authorization", "") for _, head, _ in self.requests]


@contextlib.contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """Serve on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            head = {name.lower(): value for name, value in self.headers.items()}
            told.requests.append((self.path, head, body))
            self.send_response(told.statuses.pop(0) if told.statuses else 200)
            for name, value in {"Content-Length": "0", **told.headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = ScriptedServer(server.server_port)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
