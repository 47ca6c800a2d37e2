"""A stand-in for an OTLP collector, as a process of its own: keeps every request it got, raw.

``python collector.py DIRECTORY`` prints its port; each request becomes one file of head and body.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.ports import terminated


class Collector:
    """Where it listens and what it keeps."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self.directory = directory
        self.url = f"http://127.0.0.1:{int(process.stdout.readline())}"

    def received(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.directory.glob("*.request"))]


@contextlib.contextmanager
def running_collector(directory: Path) -> Iterator[Collector]:
    """Run a collector until the block ends."""
    directory.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.collector", str(directory)],
        cwd=Path(__file__).parents[2],
        env={"PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
    )
    with terminated(process):
        yield Collector(process, directory)
    assert process.stdout is not None
    process.stdout.close()


def main(directory: Path) -> None:
    numbers = itertools.count()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            draft = directory / f"{next(numbers):06}.draft"
            draft.write_bytes(f"{self.requestline}\n{self.headers}\n".encode() + body)
            draft.rename(draft.with_suffix(".request"))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
