"""P2, the call: a caller cannot lead a key astray.

A real gateway; a trap listens where nothing may ever arrive.
"""

from __future__ import annotations

import json

import pytest
from tests.support.attacked_gateway import Attacked, attacked, running_attacked
from tests.support.malformed_requests import MALFORMED, Malformed

__all__ = ["attacked", "running_attacked"]


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
