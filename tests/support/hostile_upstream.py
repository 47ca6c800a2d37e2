"""An upstream that has the key in hand and does with it whatever a test says.

with hostile_upstream() as upstream:
    upstream.answer = lambda request: [json_answer({"model": request.key.decode()})]
    ... a call through a gateway ...
    assert upstream.received[-1].key == key
"""

from __future__ import annotations

import contextlib
import json
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_KEY = re.compile(rb"^(?:authorization: bearer |x-api-key: )(\S+)\r$", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length: (\d+)\r$", re.IGNORECASE | re.MULTILINE)
_PAUSE_SECONDS = 0.01
"""Between two pieces, so that they arrive as two."""


class Received(NamedTuple):
    """One request, as its bytes came."""

    head: bytes
    body: bytes

    @property
    def key(self) -> bytes:
        found = _KEY.search(self.head)
        return found[1] if found else b""

    @property
    def target(self) -> str:
        return self.head.split(b" ")[1].decode()

    def field(self, name: str) -> str | None:
        pattern = rb"^" + re.escape(name.encode()) + rb": (.*?)\r$"
        found = re.search(pattern, self.head, re.IGNORECASE | re.MULTILINE)
        return found[1].decode() if found else None


Answer = Callable[[Received], Sequence[bytes]]
"""The pieces of a whole HTTP answer."""


def head(status: str = "200 OK", length: int | None = None, **fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in fields.items())]
    lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def json_answer(document: object, *, status: str = "200 OK", **fields: str) -> bytes:
    body = json.dumps(document).encode()
    return head(status, len(body), content_type="application/json", **fields) + body


def chat_answer(**changes: object) -> dict[str, object]:
    message = {"role": "assistant", "content": "Hello"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        **changes,
    }


def stream_head() -> bytes:
    return head(content_type="text/event-stream")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def delta(text: str) -> bytes:
    """One event of a chat stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


class HostileUpstream:
    """Answers every request with ``answer``."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.received: list[Received] = []
        self.connections = 0
        self.answer: Answer = lambda _: [json_answer(chat_answer())]


@contextlib.contextmanager
def hostile_upstream() -> Iterator[HostileUpstream]:
    """Serve on a free port until the block ends."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            upstream.connections += 1
            with contextlib.suppress(ConnectionError):
                while self._one():
                    continue

        def _one(self) -> bool:
            lines: list[bytes] = []
            while (line := self.rfile.readline()) not in {b"", b"\r\n"}:
                lines.append(line)
            if not lines:
                return False
            text = b"".join(lines)
            length = _LENGTH.search(text)
            body = self.rfile.read(int(length[1])) if length else self._chunked(text)
            request = Received(text, body)
            upstream.received.append(request)
            for piece in upstream.answer(request):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(_PAUSE_SECONDS)
            return True

        def _chunked(self, text: bytes) -> bytes:
            if b"chunked" not in text.lower():
                return b""
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        upstream = HostileUpstream(server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield upstream
        finally:
            server.shutdown()
