"""P2, the call: a provider cannot lead a key astray or hand it to a caller.

A real gateway; the provider it is bound to is hostile or honest as each test says, and a trap
listens where nothing may ever arrive.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.support import hostile_upstream as upstreams
from tests.support.attacked_gateway import Attacked, attacked, running_attacked
from tests.support.hostile_upstream import (
    Received,
    chat_answer,
    chunk,
    delta,
    head,
    json_answer,
    stream_head,
)
from tests.support.supervised import wait_until

__all__ = ["attacked", "running_attacked"]


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
