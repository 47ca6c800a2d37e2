"""A server that gives every request the same answer: a store that says something odd."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Answering:
    """Where it listens and how often it was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.requests = 0


@contextlib.contextmanager
def answering(
    status: int, body: bytes, *, headers: tuple[tuple[str, str], ...] = ()
) -> Iterator[Answering]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            told.requests += 1
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = _answer  # noqa: N815 - the standard library calls it so
        do_POST = _answer  # noqa: N815 - as above

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = Answering(server.server_port)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
