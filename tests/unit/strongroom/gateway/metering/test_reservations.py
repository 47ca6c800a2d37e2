"""What is reserved is never less than what a call can use."""

from __future__ import annotations

import base64
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.strongroom.gateway.call.bodies import JsonBody
from keylease.strongroom.gateway.metering.output_bounds import UNKNOWN
from keylease.strongroom.gateway.metering.reservations import (
    IMAGE_TOKENS,
    REFERENCE_TOKENS,
    estimate_input_tokens,
    reserve_for,
)


def body(**members: object) -> bytes:
    return json.dumps({"model": "m", **members}, separators=(",", ":")).encode()


@given(st.text(max_size=500))
def test_text_never_has_more_tokens_than_bytes(text: str) -> None:
    # Every token stands for at least one byte of UTF-8, and JSON never makes text shorter.
    document = body(messages=[{"role": "user", "content": text}])
    assert estimate_input_tokens(document) >= len(text.encode())


def test_pointers_get_an_allowance() -> None:
    image = body(messages=[{"content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}])
    assert estimate_input_tokens(image) >= IMAGE_TOKENS
    two = body(input=[{"type": "input_file", "file_id": "a"}, {"type": "x", "file_id": "b"}])
    assert estimate_input_tokens(two) == len(two) + 2 * REFERENCE_TOKENS
    earlier = body(previous_response_id="resp_1")
    assert estimate_input_tokens(earlier) == len(earlier) + REFERENCE_TOKENS


@pytest.mark.parametrize(
    "members",
    [
        {"messages": [{"role": "user", "content": 'say "image_url" and "file_id"'}]},
        {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]},
        {"input": [{"content": [{"type": "input_image", "file_id": "a"}]}]},
        {"messages": [{"content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
        {"messages": [{"content": [{"type": "text", "text": "x"}]}]},
        {"previous_response_id": "resp_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"prompt": "a text"},
        {"image": "data:image/png;base64," + "A" * 90_000},
        {"input": [{"type": "input_image", "image_url": "data:image/png;base64," + "A" * 90_000}]},
        {"messages": [{"content": "data:image/png;base64, is how such a URL begins"}]},
        {"input": [{"type": "input_file", "file_id": "a"}]},
    ],
)
def test_knowing_the_names_of_the_members_changes_no_bound(members: dict[str, object]) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        data = json.dumps({"model": "m", **members}, separators=separators).encode()
        names = JsonBody(data).names
        assert names is not None
        assert estimate_input_tokens(data, names) == estimate_input_tokens(data)


@pytest.mark.parametrize("size", [1_000, 60_000, 3_000_000])
@pytest.mark.parametrize("form", ["openai", "anthropic"])
def test_an_inline_image_counts_as_an_image_and_not_by_its_bytes(form: str, size: int) -> None:
    data = base64.b64encode(random.Random(1).randbytes(size)).decode()  # noqa: S311 - no secret
    text = "word " * 100
    part: dict[str, object] = (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        if form == "openai"
        else {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": data},
        }
    )
    document = body(messages=[{"content": [{"type": "text", "text": text}, part]}])
    found = estimate_input_tokens(document)
    assert found >= min(len(data), IMAGE_TOKENS) + len(text)
    assert found <= len(text) + 1000 + min(len(data), IMAGE_TOKENS) + 3 * IMAGE_TOKENS


def test_other_inline_data_counts_by_its_bytes() -> None:
    data = "A" * 500_000
    document = body(input=[{"file_data": f"data:application/pdf;base64,{data}"}])
    assert estimate_input_tokens(document) >= len(data)


@pytest.mark.parametrize(
    ("operation", "model", "maximum", "choices", "output"),
    [
        ("chat", "gpt-4o-mini", 100, 1, 100),
        ("chat", "gpt-4o-mini", 100, 3, 300),
        ("chat", "gpt-4o-mini", None, 1, 16_384),
        ("chat", "gpt-4.1-nano", None, 2, 65_536),
        ("chat", "openai/gpt-4o", None, 1, 16_384),
        ("chat", "claude-3-haiku-20240307", None, 1, 4_096),
        ("chat", "something-new", None, 1, UNKNOWN),
        ("chat", "gpt-4o", 0, 0, 16_384),
        ("chat", "gpt-4o", -5, -5, 16_384),
        ("embeddings", "text-embedding-3-small", None, 1, 0),
        ("image_generation", "gpt-image-1", None, 2, 20_000),
    ],
)
def test_the_output_bound(
    operation: str, model: str, maximum: int | None, choices: int, output: int
) -> None:
    found = reserve_for(
        b"{}", operation=operation, model=model, max_tokens=maximum, choices=choices
    )
    assert found.output_tokens == output
    assert found.tokens == 2 + output


@pytest.mark.parametrize("unit", [b"data:image/png", b'"image_url"', b";base64,", b'"base64"'])
def test_odd_bodies_take_no_long_time(unit: bytes) -> None:
    assert estimate_input_tokens(unit * (1_000_000 // len(unit))) >= 0
