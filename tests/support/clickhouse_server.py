"""Speaks ClickHouse's HTTP protocol over chDB, as a process of its own, as far as our client needs.

``python -m tests.support.clickhouse_server DIRECTORY PORT [CERTIFICATE KEY]`` prints its port. It
shows that our statements and rows go through clickhouse-connect's HTTP transport, with TLS where it
has a certificate, that its one user signs in, and that an engine behind it takes them. The user's
password is what the file ``password`` in the directory holds, and may be changed there at any time.
It does not show what only a server has: grants, replication, Distributed tables, Keeper, its limits
on connections, nor versions other than chDB's.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import chdb
from backports import zstd
from chdb.state.sqlitelike import Connection
from tests.support.ports import terminated

from keylease.platform.traces.store.address import StorePassword, StoreServer, server_address

USER: Final = "writer"
PASSWORD: Final = "for-tests-only"
_AUTHENTICATION_FAILED: Final = "516"
_NO_SETTINGS: Final = frozenset(
    {
        "query", "database", "session_id", "session_timeout", "query_id", "compress", "decompress",
        "client_protocol_version", "wait_end_of_query", "buffer_size", "enable_http_compression",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms", "role",
        "default_format", "quota_key",
    }
)  # fmt: skip
_LONGEST_FIELD: Final = 128 * 1024
"""Bytes; `http_max_field_value_size` of a server that was not told otherwise."""
_FORMAT: Final = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_INSERT: Final = re.compile(
    r"\s*(INSERT\s+INTO\s+.+?)\s+FORMAT\s+(\w+)[ \t]*\n?", re.IGNORECASE | re.DOTALL
)
_CODE: Final = re.compile(r"Code:\s*(\d+)")


class ClickHouseServer:
    """Where it listens."""

    def __init__(
        self, process: subprocess.Popen[bytes], directory: Path, certificate: Path | None
    ) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self.port = int(process.stdout.readline())
        self.url = f"clickhouse://{USER}@127.0.0.1:{self.port}/"
        if certificate is not None:
            self.url += f"?secure=true&ca_cert={certificate}"
        self._password = directory / "password"
        self.place = StoreServer(address=server_address(self.url), password=StorePassword(PASSWORD))

    def change_password(self, text: str) -> None:
        """From the next request on only this one is let in."""
        partial = self._password.with_suffix(".new")
        partial.write_text(text)
        partial.rename(self._password)


@contextlib.contextmanager
def running_clickhouse(
    directory: Path, *, port: int = 0, tls: tuple[Path, Path] | None = None
) -> Iterator[ClickHouseServer]:
    """Run a server until the block ends; on the same directory it goes on with its rows.

    ``tls``: the files of its certificate and of the key.
    """
    directory.mkdir(exist_ok=True)
    (directory / "password").write_text(PASSWORD)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.support.clickhouse_server", str(directory), str(port)),
            *map(str, tls or ()),
        ],
        cwd=Path(__file__).parents[2],
        env={"PATH": "/usr/bin:/bin", "TZ": "Asia/Tokyo"},  # times must not depend on it
        stdout=subprocess.PIPE,
    )
    with terminated(process):
        yield ClickHouseServer(process, directory, tls[0] if tls else None)
    assert process.stdout is not None
    process.stdout.close()


class _Engine:
    """One chDB, asked by many threads; each request has a session of its own."""

    def __init__(self, directory: Path) -> None:
        self._path = str(directory / "engine")
        self._incoming = directory
        self._first = chdb.connect(self._path)
        self._opening = threading.Lock()

    def answer(self, asked: dict[str, str], body: bytes) -> tuple[str, bytes]:
        """The format and the bytes of the answer. Raises ``RuntimeError`` as chDB does."""
        with self._opening:
            session = chdb.connect(self._path)
        try:
            if database := asked.get("database"):
                session.query(f"USE `{database}`")
            parameters = {}
            # A server takes all settings at once; here nothing can be set after `readonly`.
            for name, value in sorted(asked.items(), key=lambda each: each[0] == "readonly"):
                if name.startswith("param_"):
                    parameters[name.removeprefix("param_")] = value
                elif name not in _NO_SETTINGS:
                    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
                    session.query(f"SET {name} = '{quoted}'")
            return self._run(session, asked.get("query", ""), body, parameters)
        finally:
            session.close()

    def _run(
        self, session: Connection, query: str, body: bytes, parameters: dict[str, str]
    ) -> tuple[str, bytes]:
        text = query.encode() + b"\n" + body if query and body else query.encode() or body
        head = text[:100_000].decode("utf-8", "replace")
        if (insert := _INSERT.match(head)) and "SELECT" not in insert[1]:
            rows = text[len(insert[0].encode()) :]
            with tempfile.NamedTemporaryFile(dir=self._incoming) as file:
                file.write(rows)
                file.flush()
                statement = f"{insert[1]} FROM INFILE '{file.name}' FORMAT {insert[2]}"
                session.query(statement, "TabSeparated")
            return "", b""
        sql = text.decode()
        named = _FORMAT.search(sql)
        kind = named[1] if named else "TabSeparated"
        answered = session.query(sql, kind, params=parameters)
        return kind, answered.bytes() or b""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: _Engine
    password: Path

    def do_GET(self) -> None:
        self._send(200, b"Ok.\n", {})

    def do_POST(self) -> None:
        known = base64.b64encode(f"{USER}:{self.password.read_text()}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {known}":
            headers = {"X-ClickHouse-Exception-Code": _AUTHENTICATION_FAILED}
            said = f"Code: {_AUTHENTICATION_FAILED}. DB::Exception: Authentication failed."
            self._body()
            self._send(403, said.encode(), headers)
            return
        asked = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = _decoded(self._body(), self.headers.get("Content-Encoding", ""))
        if self.headers.get_content_type() == "multipart/form-data":
            asked |= _form(self.headers["Content-Type"], body)
            body = b""
        if any(len(value.encode()) > _LONGEST_FIELD for value in asked.values()):
            said = "Code: 1000, HTML Form Exception: Field value too long"
            self._send(400, said.encode(), {"X-ClickHouse-Exception-Code": "1000"})
            return
        try:
            kind, answer = self.engine.answer(asked, body)
        except RuntimeError as error:
            code = _CODE.search(str(error))
            headers = {"X-ClickHouse-Exception-Code": code[1] if code else "1002"}
            self._send(500, str(error).encode(), headers)
            return
        summary = json.dumps({"read_rows": "0", "written_rows": "0"})
        headers = {"X-ClickHouse-Summary": summary, "X-ClickHouse-Timezone": "Asia/Tokyo"}
        if kind and answer:
            headers["X-ClickHouse-Format"] = kind
        self._send(200, answer, headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0) or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: tests read our output."""


class _Server(ThreadingHTTPServer):
    """TLS is spoken in each connection's thread: one that fails must not end the accepting."""

    tls: ssl.SSLContext | None = None

    def finish_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        if self.tls is not None:
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:  # whoever does not trust us, or speaks no TLS
                return
        super().finish_request(request, client_address)
        with contextlib.suppress(OSError):
            request.close()


def main(directory: Path, port: int, *tls: str) -> None:
    _Handler.engine = _Engine(directory)
    _Handler.password = directory / "password"
    server = _Server(("127.0.0.1", port), _Handler)
    if tls:
        server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = tls
        server.tls.load_cert_chain(certificate, key)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    return zstd.decompress(body) if encoding == "zstd" else body


def _form(content_type: str, body: bytes) -> dict[str, str]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    fields = {}
    for part in BytesParser().parsebytes(head + body).walk():
        name = part.get_param("name", header="Content-Disposition")
        if isinstance(name, str):
            content = part.get_payload(decode=True)
            fields[name] = content.decode() if isinstance(content, bytes) else ""
    return fields


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
