"""Batches of requests in a file: what its lines may ask for, at the upload and at the batch."""

from __future__ import annotations

import json

import pytest
from tests.support.batch_kit import ALL, FORM, form, line, own, upload, uploaded
from tests.support.call_rig import ORGANIZATION, CallRig, Sent, bundle, credential, route
from tests.support.eventually import eventually

from keylease.contracts.leases import LeaseClaims
from keylease.contracts.policy import Target
from keylease.contracts.purposes import Purpose
from keylease.errors import AccessDenied, RequestMalformed
from keylease.strongroom.gateway.call import batch_lines
from keylease.strongroom.gateway.call.batch_lines import BatchLines
from keylease.strongroom.gateway.call.routing import Decision
from keylease.strongroom.gateway.providers.openai import OPENAI


async def refused(rig: CallRig, *lines: bytes, lease: bytes | None = None) -> Sent:
    call = upload(rig, *lines, lease=lease)
    await eventually(lambda: call.status)
    assert not any(sent.finished for sent in rig.calls), "the provider got the end of the form"
    assert all(sent.cancelled for sent in rig.calls)
    assert not rig.link.objects or "file-1" not in rig.link.objects
    return call


# --- what a line may say -------------------------------------------------------------------------


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


# --- the upload ----------------------------------------------------------------------------------


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
