"""Batches of requests in a file: what its lines may ask for, at the upload and at the batch."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.support.call_rig import (
    ORGANIZATION,
    CallRig,
    Sent,
    bundle,
    credential,
    grant,
    route,
)
from tests.support.eventually import eventually

from keylease.contracts.leases import LeaseClaims
from keylease.contracts.policy import Limits, ObjectAccess, Target
from keylease.contracts.purposes import Purpose
from keylease.errors import AccessDenied, RequestMalformed
from keylease.strongroom.gateway.call import batch_lines
from keylease.strongroom.gateway.call.batch_lines import BatchLines
from keylease.strongroom.gateway.call.routing import Decision
from keylease.strongroom.gateway.interfaces import (
    LimitKey,
    LimitKind,
    LimitWindow,
    OwnedObject,
    PriceQuote,
    PriceTier,
    in_usd,
)
from keylease.strongroom.gateway.providers.openai import OPENAI

FORM = (b"content-type", b"multipart/form-data; boundary=b")
CHAT = "/v1/chat/completions"
ALL = grant(objects=ObjectAccess.ALL)
SOURCE = {"type": "file", "file_id": "obj-eve"}


def line(url: str = CHAT, **body: object) -> bytes:
    body = {"model": "gpt-4o", "messages": [], **body}
    outer = {"custom_id": "1", "method": "POST", "url": url, "body": body}
    return json.dumps(outer, separators=(",", ":"), ensure_ascii=False).encode()


def form(*lines: bytes, purpose: bytes = b"batch") -> bytes:
    return (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n%b\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%b\r\n--b--\r\n"
    ) % (purpose, b"\n".join(lines))


def upload(
    rig: CallRig, *lines: bytes, lease: bytes | None = None, purpose: bytes = b"batch"
) -> Sent:
    data = form(*lines, purpose=purpose)
    call = rig.open(
        "POST", "/v1/files", headers=[FORM], lease=lease, length=len(data), has_body=True
    )
    for at in range(0, len(data), 50):
        call.handler.body_received(data[at : at + 50])
    if not call.status:
        call.handler.request_complete()
    return call


async def uploaded(rig: CallRig, *lines: bytes, name: str = "file-1", **options: bytes) -> None:
    """Upload a file and have it made."""
    count = len(rig.calls)
    call = upload(rig, *lines, **options)
    await eventually(lambda: call.status or (len(rig.calls) > count and rig.upstream.finished))
    assert not call.status, call.body
    rig.upstream.answer({"id": name})
    await eventually(lambda: call.finished)


async def refused(rig: CallRig, *lines: bytes, lease: bytes | None = None) -> Sent:
    call = upload(rig, *lines, lease=lease)
    await eventually(lambda: call.status)
    assert not any(sent.finished for sent in rig.calls), "the provider got the end of the form"
    assert all(sent.cancelled for sent in rig.calls)
    assert not rig.link.objects or "file-1" not in rig.link.objects
    return call


async def batch(rig: CallRig, file_id: str = "file-1", lease: bytes | None = None) -> Sent:
    count = len(rig.calls)
    body: dict[str, object] = {"input_file_id": file_id, "endpoint": CHAT}
    call = rig.send("POST", "/v1/batches", body, lease=lease)
    await eventually(lambda: call.status or len(rig.calls) > count)
    return call


def own(
    rig: CallRig, object_id: str, principal: str = "user:ada", held_by: str = "cred-openai"
) -> None:
    rig.link.objects[object_id] = OwnedObject(
        object_id=object_id,
        principal=principal,
        credential_id=held_by,
        purpose="development",
        environment="local",
    )


# --- what a line may say -----------------------------------------------------------------------


class Policy:
    def __init__(self, *models: str) -> None:
        self._models = models
        self.asked: list[str] = []
        claims = LeaseClaims(
            iss="local",
            sub="user:ada",
            iat=0,
            exp=900,
            jti="jti",
            organization=ORGANIZATION,
            purpose=Purpose.DEVELOPMENT,
            environment="local",
            models=("*",),
        )
        self._decision = Decision(
            claims=claims, grants=(ALL,), limits_of=(), budgets=(), targets=(), weighted=False
        )

    def __call__(self, model: str) -> Decision:
        self.asked.append(model)
        if model not in self._models:
            raise AccessDenied(f"not {model}")
        return self._decision


def read(
    *lines: bytes, models: tuple[str, ...] = ("gpt-4o", "gpt-image-1"), size: int = 7
) -> BatchLines:
    found = BatchLines(OPENAI, Policy(*models))
    data = b"\n".join(lines)
    for at in range(0, len(data), size):
        found.feed(data[at : at + size])
    found.finish()
    return found


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_models_and_objects_of_all_lines_are_found(size: int) -> None:
    tool = {"type": "image_generation", "model": "gpt-image-1"}
    found = read(
        line(),
        line("/v1/responses", input="hi", previous_response_id="resp_1", tools=[tool]) + b"\r",
        b"",
        line("/v1/responses", input=[{"type": "item_reference", "id": "msg_1"}]),
        line(
            messages=[
                {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-9"}}]}
            ]
        ),
        line("/v1/embeddings", input="a:b \u2028 c"),
        b"",
        size=size,
    )
    assert found.models == ("gpt-4o", "gpt-image-1")
    assert list(found.object_ids) == ["resp_1", "msg_1", "file-9"]


def test_the_policy_is_asked_once_for_each_model() -> None:
    policy = Policy("gpt-4o")
    found = BatchLines(OPENAI, policy)
    found.feed(b"\n".join([line()] * 50))
    found.finish()
    assert policy.asked == ["gpt-4o"]


INSIDE = line(model="o1").decode()
BAD_LINES: dict[str, bytes] = {
    "no JSON": b"hello",
    "no object": b"[]",
    "not UTF-8": line(x="\xff").replace("\xff".encode(), b"\xff"),
    "no members": b"{}",
    "a get": line().replace(b'"POST"', b'"GET"'),
    "another path": line("/v1/organization/admin_api_keys"),
    "a path that makes batches": line("/v1/batches"),
    "files": line("/v1/files"),
    "a whole URL": line("https://api.openai.com/v1/chat/completions"),
    "a form": line("/v1/images/edits"),
    "models": line("/v1/models"),
    "another member": line().replace(b'"method"', b'"Url":"/v1/x","method"'),
    "a member twice": line().replace(b'"method"', b'"url":"/v1/responses","method"'),
    "a model twice": line().replace(b'"messages"', b'"model":"o1","messages"'),
    "a model by another case": line(Model="o1"),
    "models to choose from": line(models=["o1"]),
    "a hidden object": line(metadata={"a:b": "c:d"}).replace(
        b'"messages":[]', b'"messages":[{"file_id":"mine","file_id":"theirs"}]'
    ),
    "no model": line(model=None),
    "an escaped member": line().replace(b'"url"', b'"\\u0075rl":"/v1/files","url"'),
    "a line within, CR": line().replace(b'"body":', b'"body":\r' + line(model="o1") + b'\r,"x":'),
    "a line within a string": line(user=f"\u2028{INSIDE}\u2028").replace(b'\\"', b'"'),
    "a body that is a line": b'{"custom_id":"1","method":"POST",'
    b'"url":"/v1/chat/completions","body":\r{"model":"gpt-4o","custom_id":"1"}\r}',
    "another model": line(model="gpt-image-1"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_lines_are_refused_with_their_number(name: str) -> None:
    with pytest.raises(RequestMalformed, match="Line 2 of the batch's file"):
        read(line(), BAD_LINES[name], line())


def test_line_breaks_that_json_allows_in_strings_pass_unless_they_hide_a_line() -> None:
    read(line(user="one\u2028two\u0085{three"))
    for mark in ("\u2028", "\u2029", "\u0085"):
        hidden = json.dumps({"a": 1}).replace('"', "")
        read(line(user=f"{mark}{hidden}{mark}"))
        whole = line(user=f"{mark}{{}}{mark}")
        with pytest.raises(RequestMalformed, match="a line of its own"):
            read(whole)


@pytest.mark.parametrize("lines", [(), (b"", b" ", b"")])
def test_a_file_without_lines_is_refused(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(RequestMalformed, match="has no lines"):
        read(*lines)


def test_a_line_has_a_longest_length() -> None:
    found = BatchLines(OPENAI, Policy("gpt-4o"))
    piece = b"x" * (batch_lines.MAXIMUM_LINE // 2)
    found.feed(piece)
    found.feed(piece)
    with pytest.raises(RequestMalformed, match="too long"):
        found.feed(b"x")


def test_the_number_of_lines_is_bounded() -> None:
    found = BatchLines(OPENAI, Policy("gpt-4o"))
    found.feed(line() + b"\n" * batch_lines.MAXIMUM_LINES)
    with pytest.raises(RequestMalformed, match="more than 200000 lines"):
        found.feed(b"\n")


def test_the_number_of_objects_and_of_tools_models_is_bounded() -> None:
    names = [line("/v1/responses", previous_response_id=f"resp_{n}") for n in range(4097)]
    read(*names[:4096], size=100_000)
    with pytest.raises(AccessDenied, match="Line 4097"):
        read(*names, size=100_000)
    models = tuple(f"m{n}" for n in range(17))
    tools = [{"type": "x", "model": model} for model in models]
    with pytest.raises(RequestMalformed, match="too many models"):
        read(line(tools=tools), models=("gpt-4o", *models))


# --- the upload --------------------------------------------------------------------------------


async def test_a_checked_file_is_known_with_its_models() -> None:
    rig = CallRig()
    own(rig, "resp_1")
    lines = [line("/v1/responses", previous_response_id="resp_1")] * 3
    await uploaded(rig, *lines)
    assert b"".join(rig.upstream.written) == form(*lines)
    assert rig.link.objects["file-1"].batch_models == ("gpt-4o",)


async def test_files_of_other_purposes_pass_unread_and_are_not_known_as_checked() -> None:
    rig = CallRig()
    await uploaded(rig, b"anything", purpose=b"user_data")
    assert rig.link.objects["file-1"].batch_models == ()


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "a model of another grant": (line(model="o1"), 403, "model_not_allowed"),
    "somebody else's response": (
        line("/v1/responses", previous_response_id="resp_eve"),
        403,
        "object_not_allowed",
    ),
    "an unknown file": (line(file_id="file-x"), 403, "object_not_allowed"),
    "an object of another credential": (line(file_id="file-b"), 403, "object_not_allowed"),
    "no JSON": (b"x", 400, "request_malformed"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_one_bad_line_and_the_file_never_comes_to_be(name: str) -> None:
    bad, status, code = REFUSED[name]
    rig = CallRig()
    own(rig, "resp_eve", "user:eve")
    own(rig, "file-b", held_by="cred-b")
    lease = rig.make_lease(models=("gpt-4o", "gpt-4o-mini"))
    call = await refused(rig, line(), line(), bad, lease=lease)
    assert (call.status, call.code) == (status, code)
    assert rig.link.records[-1].error == code


async def test_a_grant_for_all_objects_uploads_but_what_it_named_is_not_its_own() -> None:
    rig = CallRig(bundle(grants=(ALL,)))
    own(rig, "resp_eve", "user:eve")
    await uploaded(rig, line("/v1/responses", previous_response_id="resp_eve"))
    assert rig.link.objects["file-1"].batch_models == ()


async def test_a_file_goes_only_to_a_credential_that_serves_its_model() -> None:
    policy = bundle(
        credentials=(credential("a"), credential("b")),
        routes=(
            route("r-1", models=("o1",), targets=(Target(credential_id="a"),)),
            route("r-2", models=("gpt-*",), targets=(Target(credential_id="b"),)),
        ),
    )
    rig = CallRig(policy)
    call = await refused(rig, line())
    assert (call.status, call.code) == (403, "model_not_allowed")
    narrow = rig.make_lease(models=("gpt-4o",))
    await uploaded(rig, line(), lease=narrow)
    assert rig.link.objects["file-1"].credential_id == "b"


async def test_a_model_that_the_route_renames_cannot_stand_in_a_file() -> None:
    policy = bundle(routes=(route(targets=(Target(credential_id="cred-openai", model="other"),)),))
    call = await refused(CallRig(policy), line())
    assert (call.status, call.code) == (403, "model_not_allowed")


async def test_an_upload_that_meets_a_401_is_checked_all_the_same() -> None:
    rig = CallRig()
    data = form(line(), line())
    call = rig.open("POST", "/v1/files", headers=[FORM], length=len(data), has_body=True)
    call.handler.body_received(data[:200])
    rig.link.store("cred-openai", b"sk-test-rotated-0123456789", version="2")
    rig.upstream.answer(b"{}", 401)
    call.handler.body_received(data[200:])
    call.handler.request_complete()
    await eventually(lambda: len(rig.calls) == 2 and rig.upstream.finished)
    assert b"".join(rig.upstream.written) == data
    rig.upstream.answer({"id": "file-1"})
    await eventually(lambda: call.finished)
    assert rig.link.objects["file-1"].batch_models == ("gpt-4o",)


async def test_an_answer_before_the_file_was_checked_checks_nothing() -> None:
    rig = CallRig()
    data = form(line())
    call = rig.open("POST", "/v1/files", headers=[FORM], length=len(data), has_body=True)
    call.handler.body_received(data[:-20])
    rig.upstream.answer({"id": "file-1"})
    await eventually(lambda: call.finished)
    assert rig.link.objects["file-1"].batch_models == ()


# --- the batch ---------------------------------------------------------------------------------


async def test_a_batch_of_a_checked_file_needs_leave_for_its_models_only() -> None:
    rig = CallRig(bundle(grants=(grant(models=("gpt-4o",)),)))
    await uploaded(rig, line())
    call = await batch(rig)
    assert rig.upstream.json == {"input_file_id": "file-1", "endpoint": CHAT}
    rig.upstream.answer({"id": "batch_1"})
    await eventually(lambda: call.finished)
    assert call.status == 200
    assert rig.link.objects["batch_1"].principal == "user:ada"


async def test_a_lease_for_other_models_does_not_start_it() -> None:
    rig = CallRig()
    await uploaded(rig, line())
    call = await batch(rig, lease=rig.make_lease(models=("gpt-4o-mini",)))
    assert (call.status, call.code) == (403, "model_not_allowed")


async def test_somebody_else_does_not_start_it() -> None:
    rig = CallRig()
    await uploaded(rig, line())
    call = await batch(rig, lease=rig.make_lease(sub="user:eve"))
    assert (call.status, call.code) == (403, "object_not_allowed")


async def test_a_file_that_was_not_checked_needs_a_separate_grant() -> None:
    rig = CallRig()
    await uploaded(rig, line(), purpose=b"user_data")
    call = await batch(rig)
    assert (call.status, call.code) == (403, "object_not_allowed")
    assert "not checked" in str(call.json)
    narrow = await batch(rig, lease=rig.make_lease(models=("gpt-4o",)))
    assert (narrow.status, narrow.code) == (403, "model_not_allowed")
    trusted = CallRig(bundle(grants=(ALL,)))
    await uploaded(trusted, line(), purpose=b"user_data")
    await batch(trusted)
    assert trusted.upstream.target == "/v1/batches"


BUDGET = LimitKey("grant-1", LimitKind.MICRO_USD, LimitWindow.DAY)
QUOTE = PriceQuote(
    input=1_000_000, output=2_000_000, cache_read=0, cache_write=0, version="prices-1"
)
"""1 micro-USD for an input token, 2 for an output token."""


def with_budget(micro_usd: int = 10**9, *, tokens_per_minute: int | None = None) -> CallRig:
    limits = Limits(budget_micro_usd=micro_usd, tokens_per_minute=tokens_per_minute)
    rig = CallRig(bundle(grants=(grant(limits=limits),)))
    rig.link.prices["openai", "gpt-4o"] = QUOTE
    return rig


async def test_what_the_lines_may_use_is_counted_as_for_calls() -> None:
    rig = CallRig()
    lines = (
        line(max_tokens=100),
        line(max_completion_tokens=30, n=3),
        line(),
        line("/v1/embeddings", input="x"),
    )
    await uploaded(rig, *lines)
    bound = rig.link.objects["file-1"].batch_bound
    assert bound is not None
    bodies = [json.dumps(json.loads(one)["body"], separators=(",", ":")) for one in lines]
    assert bound.input_tokens == sum(map(len, bodies))
    assert (bound.output_tokens, bound.open_answers) == (100 + 3 * 30, 1)


async def test_a_batch_draws_what_its_lines_may_use_at_most() -> None:
    rig = with_budget()
    await uploaded(rig, line(max_tokens=100), line(), line(n=2))
    bound = rig.link.objects["file-1"].batch_bound
    assert bound is not None
    call = await batch(rig)
    drawn = bound.input_tokens + 2 * (100 + 3 * 16_384)
    assert rig.link.used[BUDGET] == drawn, "reserved before it is sent"
    rig.upstream.answer({"id": "batch_1"})
    await eventually(lambda: call.finished)
    assert rig.link.used[BUDGET] == drawn, "nobody here sees what it uses in the end"
    record = rig.link.records[-1]
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens) == (
        bound.input_tokens,
        100 + 3 * 16_384,
    )
    assert (record.cost, record.estimated, record.requested_model) == (drawn, True, "gpt-4o")


async def test_a_batch_that_may_use_more_than_the_budget_is_refused_with_what_was_counted() -> None:
    rig = with_budget(30_000)
    await uploaded(rig, line(max_tokens=100), *[line()] * 2_000)
    before = len(rig.calls)
    call = await batch(rig)
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (429, "limit_reached")
    assert len(rig.calls) == before
    assert not rig.link.used.get(BUDGET)
    said = str(call.json)
    bound = rig.link.objects["file-1"].batch_bound
    assert bound is not None
    output = 100 + 2_000 * 16_384
    counted = f"Requests: 2,001; input tokens: {bound.input_tokens:,}; output tokens: {output:,};"
    assert f"{counted} at most {in_usd(bound.input_tokens + 2 * output)}." in said
    assert "Answers without a bound of their own: 2,000" in said
    assert "the longest of 'gpt-4o', 16,384 tokens." in said
    assert "Set max_tokens" in said
    assert "raise the limit" in said


async def test_a_bounded_batch_over_the_budget_is_told_to_be_smaller() -> None:
    rig = with_budget(1_000)
    await uploaded(rig, line(max_tokens=2_000))
    call = await batch(rig)
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (429, "limit_reached")
    assert "Send smaller batches" in str(call.json)
    assert "without a bound" not in str(call.json)


async def test_the_price_of_a_long_context_is_not_that_of_many_short_requests() -> None:
    rig = with_budget()
    dear = PriceTier(
        above=10_000,
        input=9_000_000,
        output=9_000_000,
        cache_read=0,
        cache_write=0,
        cache_write_1h=0,
    )
    rig.link.prices["openai", "gpt-4o"] = msgspec.structs.replace(QUOTE, tiers=(dear,))
    await uploaded(rig, *[line(max_tokens=1)] * 500)
    bound = rig.link.objects["file-1"].batch_bound
    assert bound is not None
    assert bound.input_tokens > dear.above > bound.largest_input > 0
    call = await batch(rig)
    assert rig.link.used[BUDGET] == bound.input_tokens + 2 * 500
    rig.upstream.answer({"id": "batch_1"})
    await eventually(lambda: call.finished)
    assert rig.link.used[BUDGET] == bound.input_tokens + 2 * 500


async def test_a_batch_that_the_provider_refuses_draws_nothing() -> None:
    rig = with_budget()
    await uploaded(rig, line())
    call = await batch(rig)
    rig.upstream.answer({"error": {"message": "no"}}, status=400)
    await eventually(lambda: call.finished)
    assert rig.link.used[BUDGET] == 0
    assert rig.link.records[-1].usage is None


async def test_a_batch_under_a_token_limit_draws_from_it() -> None:
    rig = with_budget(tokens_per_minute=1_000)
    await uploaded(rig, line(max_tokens=2_000))
    call = await batch(rig)
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (429, "limit_reached")


async def test_where_no_budget_is_drawn_from_the_usage_of_a_batch_is_unknown() -> None:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o"] = QUOTE
    await uploaded(rig, line())
    call = await batch(rig)
    rig.upstream.answer({"id": "batch_1"})
    await eventually(lambda: call.finished)
    record = rig.link.records[-1]
    assert (record.usage, record.cost, record.estimated) == (None, None, False)


async def test_a_batch_whose_file_was_not_counted_draws_from_no_budget() -> None:
    rig = with_budget()
    own(rig, "file-1")
    rig.link.objects["file-1"] = msgspec.structs.replace(
        rig.link.objects["file-1"], batch_models=("gpt-4o",)
    )
    call = await batch(rig)
    assert (call.status, call.code) == (403, "access_denied")
    assert "not counted" in str(call.json)
    assert not rig.calls


async def test_an_anthropic_batch_draws_what_its_requests_may_use_at_most() -> None:
    rig = with_budget()
    rig.link.prices["anthropic", "claude-4"] = QUOTE
    params = {"model": "claude-4", "max_tokens": 50, "messages": []}
    body: dict[str, object] = {
        "requests": [
            {"custom_id": "1", "params": params},
            {"custom_id": "2", "params": {**params, "max_tokens": 70}},
        ]
    }
    call = rig.send("POST", "/v1/messages/batches", body)
    size = 2 * len(json.dumps(params, separators=(",", ":")))
    assert rig.link.used[BUDGET] == size + 2 * (50 + 70)
    rig.upstream.answer({"id": "msgbatch_1"})
    await eventually(lambda: call.finished)
    assert rig.link.used[BUDGET] == size + 2 * (50 + 70)
    assert rig.link.records[-1].estimated


@pytest.mark.parametrize("file_id", ["../x", "", "file-unknown"])
async def test_a_batch_of_an_unknown_file_is_refused(file_id: str) -> None:
    call = await batch(CallRig(), file_id)
    assert (call.status, call.code) == (403, "object_not_allowed")


# --- requests in the body ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "named",
    [
        {"messages": [{"role": "user", "content": [{"type": "document", "source": SOURCE}]}]},
        {"container": "obj-eve"},
        {"container": {"id": "obj-eve", "skills": []}},
    ],
)
async def test_requests_of_an_anthropic_batch_name_only_ones_own_objects(
    named: dict[str, object],
) -> None:
    rig = CallRig()
    own(rig, "obj-eve", "user:eve", "cred-anthropic")
    parameters = {"model": "claude-4", "max_tokens": 5}
    requests = [
        {"custom_id": "1", "params": parameters},
        {"custom_id": "2", "params": {**parameters, **named}},
    ]
    call = rig.send("POST", "/v1/messages/batches", {"requests": requests})
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (403, "object_not_allowed")
    assert not rig.calls
