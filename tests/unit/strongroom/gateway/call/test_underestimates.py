"""Requests that would use more than they say: what is set aside and charged must not be less."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.support.call_rig import CallRig, bundle, grant
from tests.support.eventually import eventually

from keylease.contracts.policy import Limits
from keylease.errors import RequestMalformed
from keylease.strongroom.gateway.call.reserving import reserve
from keylease.strongroom.gateway.metering.reservations import IMAGE_TOKENS, estimate_input_tokens
from keylease.strongroom.gateway.providers.openai import OPENAI

CHAT = OPENAI.exact_paths()["/chat/completions"].methods["POST"]
RESPONSES = OPENAI.exact_paths()["/responses"].methods["POST"]
CREATED = (
    b'event: response.created\ndata: {"type":"response.created","response":'
    b'{"id":"resp_1","model":"gpt-4o-mini","usage":null}}\n\n'
)


def test_only_members_that_the_operation_heeds_bound_its_output() -> None:
    assert reserve(b"{}", {"max_output_tokens": 1}, CHAT, "gpt-4o").output_tokens == 16_384
    assert reserve(b"{}", {"max_tokens": 1}, RESPONSES, "gpt-4o").output_tokens == 16_384
    assert reserve(b"{}", {"max_output_tokens": 7}, RESPONSES, "gpt-4o").output_tokens == 7
    both: dict[str, object] = {"max_tokens": 9, "max_completion_tokens": 7}
    assert reserve(b"{}", both, CHAT, "gpt-4o").output_tokens == 9


@pytest.mark.parametrize("count", ["128", 128.0, True, [128], 10**30], ids=repr)
@pytest.mark.parametrize("name", ["n", "best_of"])
def test_a_number_of_answers_that_only_some_understand_is_refused(name: str, count: object) -> None:
    with pytest.raises(RequestMalformed):
        reserve(b"{}", {name: count}, CHAT, "gpt-4o")


def test_text_is_not_counted_as_an_image() -> None:
    data = "A" * 400_000
    for text in (f"data:image/png;base64,{data}", f'"url":"data:image/png;base64,{data}'):
        body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
        assert estimate_input_tokens(body) >= len(body)
    for part in (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{data}"},
    ):
        body = json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode()
        assert estimate_input_tokens(body) < 4 * IMAGE_TOKENS


@pytest.mark.parametrize("background", [True, False])
async def test_a_response_in_the_background_is_not_cheap_for_whoever_leaves(
    *, background: bool
) -> None:
    rig = CallRig(bundle(grants=(grant(limits=Limits(tokens_per_minute=100_000)),)))
    call = rig.send(
        "POST",
        "/v1/responses",
        {"model": "gpt-4o-mini", "input": "hi", "stream": True, "background": background,
         "max_output_tokens": 5000},
    )  # fmt: skip
    await eventually(lambda: bool(rig.calls))
    rig.upstream.stream(CREATED, complete=False)
    call.handler.client_gone()
    [record] = rig.link.records
    assert record.usage is not None
    assert record.estimated
    if background:
        assert record.usage.output_tokens == 5000
    else:
        assert record.usage.output_tokens < 100


async def test_an_absurd_number_of_tokens_does_not_keep_a_call_out_of_the_records() -> None:
    rig = CallRig()
    call = rig.chat(max_tokens=10**30)
    await eventually(lambda: bool(rig.calls))
    call.handler.client_gone()
    [record] = rig.link.records
    assert record.client_gone
    assert msgspec.msgpack.encode(record)
