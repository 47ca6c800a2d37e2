"""P2, the call: neither a caller nor a provider can lead a key astray or get to see it.

A real gateway; the provider it is bound to is hostile or honest as each test says, and a trap
listens where nothing may ever arrive.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support import hostile_upstream as upstreams
from tests.support.hostile_upstream import (
    HostileUpstream,
    Received,
    chat_answer,
    chunk,
    delta,
    head,
    hostile_upstream,
    json_answer,
    stream_head,
)
from tests.support.malformed_requests import MALFORMED, Malformed
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.supervised import wait_until

SECONDS = 10


class Attacked(NamedTuple):
    gateway: RunningGateway
    bound: HostileUpstream
    trap: HostileUpstream
    key: bytes

    @property
    def port(self) -> int:
        return int(self.gateway.url.rpartition(":")[2])

    def raw(self, data: bytes) -> bytes:
        """Send bytes; everything that comes back until the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as connection:
            connection.sendall(data)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    received += piece
            return received

    def request(
        self,
        *fields: bytes,
        path: str = "/v1/chat/completions",
        method: str = "POST",
        body: dict[str, object] | bytes | None = None,
        lease: str | None = None,
        host: bytes = b"gateway.example",
    ) -> bytes:
        """One request on a connection of its own, written by hand; the raw answer."""
        document = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
        content = body if isinstance(body, bytes) else json.dumps({**document, **(body or {})})
        data = content if isinstance(content, bytes) else content.encode()
        token = self.gateway.lease() if lease is None else lease
        lines = [
            f"{method} {path} HTTP/1.1".encode(),
            b"host: " + host,
            b"authorization: Bearer " + token.encode(),
            b"connection: close",
            *fields,
        ]
        if method == "POST":
            lines += [b"content-type: application/json", b"content-length: %d" % len(data)]
        else:
            data = b""
        return self.raw(b"\r\n".join(lines) + b"\r\n\r\n" + data)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    directory = tmp_path_factory.mktemp("p2")
    # All in lower case: header names lose their case on the way.
    key = f"sk-test-{secrets.token_hex(20)}".encode()
    with hostile_upstream() as bound, hostile_upstream() as trap:
        credentials = "".join(
            f"""
[[credential]]
name = "{name}"
provider = "{provider}"
upstream = "{bound.url}{path}"
reference = "env://KEY"
purposes = ["development"]
environment = "local"
[[route]]
name = "{name}"
models = ["{models}"]
targets = [{{ credential = "{name}" }}]
"""
            for name, provider, path, models in (
                ("claude", "anthropic-compatible", "", "claude-*"),
                ("openai", "openai-compatible", "/v1", "*"),
            )
        )
        bindings = "".join(
            f"""
[[binding]]
reference = "env://KEY"
provider = "{provider}"
hosts = ["{bound.url}"]
purposes = ["development"]
"""
            for provider in ("openai-compatible", "anthropic-compatible")
        )
        with running_gateway(
            directory,
            gateway_toml=bindings,
            policy_toml=f"""
version = 1
{credentials}
[[grant]]
name = "all"
principals = ["*"]
models = ["*"]
purposes = ["development"]
environments = ["*"]
""",
            environment={"KEY": key.decode()},
        ) as gateway:
            yield Attacked(gateway, bound, trap, key)


@pytest.fixture
def attacked(running: Attacked) -> Iterator[Attacked]:
    """After each attack: the trap is empty, and what the provider got is a request of ours."""
    running.bound.received.clear()
    running.bound.answer = lambda _: [json_answer(chat_answer())]
    yield running
    assert running.trap.connections == 0
    for received in running.bound.received:
        assert received.key == running.key
        assert received.field("host") == f"127.0.0.1:{running.bound.port}"
        assert b"kll_" not in received.head, "no lease goes to a provider"
    running.bound.received.clear()
    running.bound.answer = lambda _: [json_answer(chat_answer())]
    assert b"200 OK" in running.request(), "it still works"


# --- what a caller sends -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "x-forwarded-host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port",
        "x-forwarded-server", "x-forwarded-prefix", "forwarded", "x-host", "x-original-host",
        "x-original-url", "x-rewrite-url", "x-real-ip", "x-http-host-override", "x-http-method",
        "x-http-method-override", "x-base-url", "x-upstream", "x-target-url", "x-provider",
        "x-portkey-custom-host", "helicone-target-url", "openai-organization", "openai-project",
        "anthropic-organization", "anthropic-dangerous-direct-browser-access",
        "x-goog-user-project", "proxy", "proxy-authorization", "proxy-connection", "via",
        "origin", "referer", "cookie",
        "te", "trailer", "upgrade", "keep-alive", "accept-encoding", "range", "if-none-match",
        "x-stainless-lang", "x-request-id", "baggage", "tracestate",
    ],
)  # fmt: skip
def test_no_header_of_a_caller_leads_anywhere(attacked: Attacked, name: str) -> None:
    value = f"http://127.0.0.1:{attacked.trap.port}"
    answer = attacked.request(f"{name}: {value}".encode())
    assert b" 200 OK" in answer.split(b"\r\n")[0]
    [received] = attacked.bound.received
    assert received.target == "/v1/chat/completions"
    if name == "accept-encoding":
        assert received.field(name) == "identity"
    else:
        assert received.field(name) is None
    assert value.encode() not in received.head


@pytest.mark.parametrize(
    "host", [b"127.0.0.1:1", b"evil.example", b"169.254.169.254", b"api.openai.com", b"[::1]:80"]
)
def test_the_host_of_a_request_is_nothing_but_a_name(attacked: Attacked, host: bytes) -> None:
    assert b" 200 OK" in attacked.request(host=host)
    assert len(attacked.bound.received) == 1


@pytest.mark.parametrize("name", ["connection: authorization", "connection: host, content-length"])
def test_a_caller_cannot_have_our_fields_removed(attacked: Attacked, name: str) -> None:
    attacked.request(name.encode())
    for received in attacked.bound.received:
        assert received.key == attacked.key


TARGETS = [
    "http://127.0.0.1:{trap}/v1/chat/completions",
    "https://api.openai.com/v1/chat/completions",
    "//127.0.0.1:{trap}/v1/chat/completions",
    "@127.0.0.1:{trap}/v1/chat/completions",
    ":{trap}/v1/chat/completions",
    "/v1/chat/completions@127.0.0.1:{trap}",
    "/http://127.0.0.1:{trap}/v1/chat/completions",
    "/v1/../admin",
    "/v1/chat/completions/../../organization/admin_api_keys",
    "/v1/%2e%2e/admin",
    "/v1/chat%2fcompletions",
    "/v1/chat/completions/",
    "/v1/chat/completions;x=1",
    "/v1/chat/completions#x",
    "/v1/chat/completions?base_url=http://127.0.0.1:{trap}",
    "/v1/chat/completions?api_key=x",
    "/v1/chat/completions?api-version=1",
    "/v1/chat/completions?x=%0d%0aHost:%20127.0.0.1:{trap}",
    "/v1/organization/admin_api_keys",
    "/v1/organization/api_keys",
    "/v1/organizations/api_keys",
    "/v1/api_keys",
    "/v1/realtime/client_secrets",
    "/v1/realtime/sessions",
    "/v1/fine_tuning/jobs",
    "/admin",
    "/anthropic/v1/organizations/api_keys",
    "/anthropic/../v1/chat/completions",
    "/v1/files/..",
    "/v1/files/../organization",
    "/v1/files/%2e%2e",
    "/v1/files/a%2f..%2f..%2forganization",
    "/v1/models/..%2forganization",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_no_target_leads_anywhere_else(attacked: Attacked, target: str, method: str) -> None:
    path = target.format(trap=attacked.trap.port)
    answer = attacked.request(path=path, method=method)
    assert answer.split(b" ")[1] in {b"400", b"403", b"404", b"405"}, answer[:200]
    assert attacked.bound.received == []


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "PROPFIND", "PATCH", "PUT", "OPTIONS"])
def test_other_methods_reach_nobody(attacked: Attacked, method: str) -> None:
    answer = attacked.request(method=method)
    assert answer.split(b" ")[1] in {b"400", b"404", b"405", b"501"}
    assert attacked.key not in answer
    assert attacked.bound.received == []


@pytest.mark.parametrize(
    "member",
    [
        "base_url", "api_base", "api_key", "apiKey", "endpoint", "host", "url", "upstream",
        "proxy", "proxies", "headers", "extra_headers", "default_headers", "extra_query",
        "extra_body", "organization", "project", "provider", "custom_llm_provider",
        "api_version", "azure_endpoint", "aws_region_name", "vertex_project", "litellm_params",
        "mock_response", "fallbacks", "metadata", "credential", "reference", "environment",
    ],
)  # fmt: skip
def test_no_member_of_a_body_leads_anywhere(attacked: Attacked, member: str) -> None:
    """They may pass, as they are the provider's business; here they mean nothing."""
    url = f"http://127.0.0.1:{attacked.trap.port}/v1"
    for value in (url, {"authorization": "Bearer mine", "host": url}):
        attacked.request(body={member: value})
    for received in attacked.bound.received:
        assert received.target == "/v1/chat/completions"
        assert received.key == attacked.key
        assert url.encode() not in received.head
        assert b"mine" not in received.head


@pytest.mark.parametrize(
    "model",
    [
        "http://127.0.0.1:{trap}/v1",
        "//127.0.0.1:{trap}",
        "../../../admin",
        "openai/gpt-4o@127.0.0.1:{trap}",
        "gpt-4o\r\nhost: 127.0.0.1:{trap}",
        "gpt-4o\u0000",
        "gpt-4o?x=y#z",
        "%2e%2e%2fadmin",
        "..\\admin",
        "gpt-4o\u2028x",
        "*",
    ],
)
def test_no_name_of_a_model_leads_anywhere(attacked: Attacked, model: str) -> None:
    attacked.request(body={"model": model.format(trap=attacked.trap.port)})
    for received in attacked.bound.received:
        assert received.target == "/v1/chat/completions"
        assert b"admin" not in received.head
        assert str(attacked.trap.port).encode() not in received.head


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"gpt-4o","model":"claude-3","messages":[]}',
        b'{"messages":[],"model":"gpt-4o","mod\\u0065l":"o3"}',
        b'{"model":"gpt-4o","messages":[]}{"model":"o3"}',
        b'\xef\xbb\xbf{"model":"gpt-4o","messages":[]}',
        '{"model":"gpt-4o","messages":[]}'.encode("utf-16"),
        b'{"model":"gpt-4o","messages":NaN}',
        b"model=gpt-4o",
        b"[]",
        b"",
    ],
    ids=["two models", "two models, escaped", "two documents", "byte order mark", "UTF-16", "NaN",
         "form", "list", "empty"],
)  # fmt: skip
def test_a_body_that_can_be_read_in_two_ways_is_refused(attacked: Attacked, body: bytes) -> None:
    answer = attacked.request(body=body)
    assert answer.split(b" ")[1] == b"400", answer[:200]
    assert attacked.bound.received == []


@pytest.mark.parametrize("case", MALFORMED, ids=[case.name for case in MALFORMED])
def test_a_request_that_is_no_http_reaches_nobody(attacked: Attacked, case: Malformed) -> None:
    """With a good lease in it, so that only its form is in the way."""
    lease = b"Authorization: Bearer " + attacked.gateway.lease().encode() + b"\r\n"
    first, found, rest = case.raw.partition(b"\r\n")
    data = first + found + lease + rest if found else case.raw
    answer = attacked.raw(data)
    status = answer.split(b" ")[1:2]
    assert status != [b"200"], answer[:300]
    assert answer.count(b"HTTP/1.1 ") <= 1, "what came behind it is no second request"
    assert attacked.bound.received == []


def test_a_request_inside_of_a_body_stays_there(attacked: Attacked) -> None:
    inner = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
    body = json.dumps({"model": "gpt-4o", "messages": [], "x": inner.decode()}).encode()
    attacked.request(body=body)
    assert len(attacked.bound.received) == 1
    assert attacked.bound.received[0].body == body


def test_chunks_are_framed_anew(attacked: Attacked) -> None:
    """Extensions and trailers end here, and the provider gets one certain length."""
    body = b'{"model":"gpt-4o","messages":[]}'
    lease = attacked.gateway.lease().encode()
    data = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        b"connection: close\r\nauthorization: Bearer "
        + lease
        + b"\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    for letter in body:
        data += b"1\r\n" + bytes((letter,)) + b"\r\n"
    answer = attacked.raw(data + b"0\r\n\r\n")
    assert b" 200 OK" in answer.split(b"\r\n")[0]
    [received] = attacked.bound.received
    assert received.body == body
    assert received.field("content-length") == str(len(body))
    assert received.field("transfer-encoding") is None


def test_each_request_of_a_connection_needs_its_own_lease(attacked: Attacked) -> None:
    lease = attacked.gateway.lease().encode()
    one = b"GET /v1/models HTTP/1.1\r\nhost: a\r\n"
    answer = attacked.raw(
        one + b"authorization: Bearer " + lease + b"\r\n\r\n" + one + b"connection: close\r\n\r\n"
    )
    statuses = [part.split(b" ")[0] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses[0] == b"200"
    assert set(statuses[1:]) == {b"401"}


# --- what a provider answers -------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
@pytest.mark.parametrize("location", ["http://127.0.0.1:{trap}/v1", "//127.0.0.1:{trap}", "/admin"])
def test_a_redirect_is_not_followed_and_not_passed_on(
    attacked: Attacked, status: int, location: str
) -> None:
    where = location.format(trap=attacked.trap.port)
    length = None if status == 304 else 0
    answer_head = head(f"{status} Moved", length, location=where, refresh=f"0; url={where}")
    attacked.bound.answer = lambda _: [answer_head.replace(b"transfer-encoding: chunked\r\n", b"")]
    answer = attacked.request()
    assert answer.split(b" ")[1] == b"502"
    assert str(attacked.trap.port).encode() not in answer
    assert b"\r\nlocation:" not in answer.lower()
    assert len(attacked.bound.received) == 1, "no second request, anywhere"


def plain(document: dict[str, object], status: str = "200 OK", **fields: str) -> list[bytes]:
    return [json_answer(document, status=status, **fields)]


def cut(body: bytes, position: int) -> list[bytes]:
    pieces = [body[:position], body[position:]]
    return [
        head(content_type="application/json"),
        *(chunk(piece) for piece in pieces if piece),
        chunk(b""),
    ]


def in_stream(*events: bytes) -> list[bytes]:
    return [
        stream_head(),
        *map(chunk, events),
        chunk(b"data: [DONE]\n\n") + chunk(b""),
    ]


Echo = Callable[[str], Sequence[bytes]]
ECHOES: dict[str, Echo] = {
    "in the body": lambda key: plain(chat_answer(id=key)),
    "in a long body": lambda key: plain(chat_answer(id=key, padding="x" * 200_000)),
    "late in a long body": lambda key: plain(chat_answer(padding="x" * 200_000, late=key)),
    "in an error": lambda key: plain({"error": {"message": key}}, "400 Bad Request"),
    "in a server error": lambda key: plain({"error": {"message": key}}, "500 Oh"),
    "in a refusal": lambda key: plain({"error": {"message": key}}, "401 Unauthorized"),
    "in a denial": lambda key: plain({"error": {"message": key}}, "403 Forbidden"),
    "in the name of a member": lambda key: plain({key: 1}),
    "in a request id": lambda key: plain(chat_answer(), x_request_id=key),
    "in a rate limit header": lambda key: plain(chat_answer(), x_ratelimit_limit=key),
    "in the name of a header": lambda key: plain(chat_answer(), **{f"x_ratelimit_{key}": "1"}),
    "in an unknown header": lambda key: plain(chat_answer(), x_debug=f"Bearer {key}"),
    "in a cookie": lambda key: plain(chat_answer(), set_cookie=f"k={key}"),
    "in the content type": lambda key: [
        json_answer(chat_answer()).replace(b"/json", b"/json; k=" + key.encode())
    ],
    "in www-authenticate": lambda key: plain({}, "401 Unauthorized", www_authenticate=key),
    "in the reason": lambda key: plain(chat_answer(), f"200 {key}"),
    "in an informational answer": lambda key: [
        f"HTTP/1.1 103 Early Hints\r\nlink: <{key}>\r\n\r\n".encode(),
        *plain(chat_answer()),
    ],
    "in the extension of a chunk": lambda key: [
        head(content_type="application/json"),
        b"2;k=" + key.encode() + b"\r\n{}\r\n0\r\n\r\n",
    ],
    "in a trailer": lambda key: [
        head(content_type="application/json"),
        b"2\r\n{}\r\n0\r\nx-key: " + key.encode() + b"\r\n\r\n",
    ],
    "in a stream": lambda key: in_stream(delta("Hello"), delta(key), delta("!")),
    "in a comment of a stream": lambda key: in_stream(b": " + key.encode() + b"\n\n", delta("Hi")),
    "in a usage chunk": lambda key: in_stream(
        b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"x":"%b"}}\n\n'
        % key.encode()
    ),
    "letter by letter": lambda key: [
        stream_head(),
        *(chunk(letter.encode()) for letter in f"data: {key}\n\n"),
        chunk(b""),
    ],
    "without a length": lambda key: [
        b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
        + json.dumps(chat_answer(id=key)).encode()
    ],
    "behind the answer": lambda key: [
        json_answer(chat_answer()) + json_answer(chat_answer(id=key))
    ],
    "in a binary body": lambda key: [
        head("200 OK", len(key) + 4, content_type="application/octet-stream")
        + b"\x00\xff" + key.encode() + b"\xff\x00"
    ],
}  # fmt: skip


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES.keys())
@pytest.mark.parametrize("surface", ["openai", "anthropic"])
def test_a_provider_cannot_hand_the_key_to_a_caller(
    attacked: Attacked, echo: Echo, surface: str
) -> None:
    attacked.bound.answer = lambda request: echo(request.key.decode())
    if surface == "openai":
        answers = [attacked.request(), attacked.request(body={"stream": True})]
    else:
        body: dict[str, object] = {"model": "claude-x", "max_tokens": 5}
        answers = [
            attacked.request(path="/v1/messages", body=body),
            attacked.request(path="/v1/messages", body={**body, "stream": True}),
        ]
    assert attacked.bound.received, "it was asked"
    for answer in answers:
        assert attacked.key not in answer
        assert attacked.key not in answer.replace(b"\r\n", b""), "nor over chunks"


def test_a_key_cut_anywhere_is_found(attacked: Attacked) -> None:
    key = attacked.key
    body = json.dumps(chat_answer(id=key.decode())).encode()
    start = body.find(key)
    for position in range(start - 1, start + len(key) + 1, 5):
        attacked.bound.answer = lambda _, position=position: cut(body, position)  # type: ignore[misc]  # the default holds the value of the loop
        answer = attacked.request()
        # Put together again, without the sizes between the pieces.
        assert key not in unchunked(answer)


def unchunked(answer: bytes) -> bytes:
    head_bytes, _, rest = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head_bytes.lower():
        return rest
    pieces = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if not size.strip():
            break
        length = int(size, 16)
        pieces.append(rest[:length])
        rest = rest[length + 2 :]
    return b"".join(pieces)


def test_an_echo_is_written_down(attacked: Attacked) -> None:
    before = len(attacked.gateway.control("audit.list", limit=10_000))
    attacked.bound.answer = lambda request: plain(chat_answer(id=request.key.decode()))
    answer = attacked.request()
    assert b"credential_echoed" in answer

    def written() -> bool:
        entries = attacked.gateway.control("audit.list", limit=10_000)[before:]
        return "credential.echoed" in [entry["action"] for entry in entries]

    wait_until(written)


def test_an_answer_too_many_poisons_nobody(attacked: Attacked) -> None:
    """A provider, or somebody between, answers twice: the second answer is nobody's."""
    poison = chat_answer(id="poison")
    attacked.bound.answer = lambda _: [json_answer(chat_answer()) + json_answer(poison)]
    attacked.request()
    attacked.bound.answer = lambda _: [json_answer(chat_answer(id="clean"))]
    for _ in range(5):
        answer = attacked.request()
        assert b"poison" not in answer
        assert b"clean" in answer


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}",
        b"HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"hello\r\n\r\n",
    ],
    ids=["two lengths", "length and chunks", "bare LF", "NUL", "folded", "upgrade", "bad chunk",
         "version", "no HTTP"],
)  # fmt: skip
def test_an_answer_that_is_no_http_is_none(attacked: Attacked, answer: bytes) -> None:
    attacked.bound.answer = lambda _: [answer]
    said = attacked.request()
    assert said.split(b" ")[1:2] == [b"502"] or b"0\r\n\r\n" not in said[-5:]
    assert b"hello" not in said
    assert attacked.key not in said


def test_names_are_those_of_the_support_module() -> None:
    received = Received(b"POST /x HTTP/1.1\r\nX-API-Key: abc\r\n", b"")
    assert (received.key, received.target) == (b"abc", "/x")
    assert upstreams.chunk(b"") == b"0\r\n\r\n"
    assert Path(upstreams.__file__).name == "hostile_upstream.py"
