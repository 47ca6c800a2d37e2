"""Messages of OpenAI, Anthropic and others in one form, beyond what the dialects' tests show."""

from typing import Any

import pytest

from keylease.platform.traces.understanding.messages import chat, instructions, last_text
from keylease.platform.traces.understanding.payloads import PayloadBox

SEVEN = {"type": "text", "text": "7"}
BYTES = {"type": "base64", "media_type": "image/png", "data": "iV"}


def one(message: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    return chat([message], PayloadBox())


def content(*parts: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    (message,) = one({"role": "user", "content": list(parts)})
    return message["content"]


def test_openai_s_own_messages_stay_as_they_are() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi.", "name": "ada"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look."},
                {"type": "image_url", "image_url": {"url": "https://a.example/", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "content": "1", "tool_call_id": "c"},
        {"role": "assistant", "content": "No.", "refusal": "I cannot."},
    ]
    assert chat(messages, PayloadBox()) == messages


def test_anthropic_s_content_becomes_calls_results_and_thinking() -> None:
    assert one(
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm."},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
            ],
        }
    ) == [
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
            ],
        }
    ]
    assert one(
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "text", "text": "7"}],
                },
                {"type": "text", "text": "And now?"},
            ],
        }
    ) == [
        {"role": "tool", "content": "7", "tool_call_id": "t"},
        {"role": "user", "content": "And now?"},
    ]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "iV"},
            },
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iV"}},
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "https://a.example/"}},
            {"type": "image_url", "image_url": {"url": "https://a.example/"}},
        ),
        (
            {"type": "image", "image": "https://a.example/", "mediaType": "image/png"},
            {"type": "image_url", "image_url": {"url": "https://a.example/"}},
        ),
        (
            {"type": "input_image", "image_url": "https://a.example/"},
            {"type": "image_url", "image_url": {"url": "https://a.example/"}},
        ),
        (
            {"type": "file", "data": "iV", "mediaType": "image/png"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iV"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "aa", "format": "mp3"}},
            {"type": "audio", "audio": {"url": "data:audio/mp3;base64,aa"}},
        ),
        (
            {"type": "blob", "mime_type": "audio/wav", "content": "aa"},
            {"type": "audio", "audio": {"url": "data:audio/wav;base64,aa"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aa"}},
            {"type": "file", "file": {"url": "data:application/pdf;base64,aa"}},
        ),
        ({"type": "unheard_of", "a": 1}, {"type": "unheard_of", "a": 1}),
        ({"type": "image"}, {"type": "image"}),
        ({"type": "text"}, {"type": "text"}),
        ({"no": "type"}, {"no": "type"}),
    ],
)
def test_parts(part: dict[str, Any], expected: dict[str, Any]) -> None:
    assert content(part) == [expected]


def test_several_texts_stay_apart() -> None:
    assert content({"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}) == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]


def test_roles_of_other_families_are_openai_s() -> None:
    roles = [one({"role": role, "content": ""})[0]["role"] for role in ("human", "ai", "model")]
    assert roles == ["user", "assistant", "assistant"]


def test_what_is_no_message_is_left_out_and_texts_are_messages() -> None:
    assert chat(["Hi.", 3, None], PayloadBox()) == [{"role": "user", "content": "Hi."}]
    assert chat(7, PayloadBox()) == []
    assert instructions(None, PayloadBox()) == []


def test_the_preview_of_a_call_is_the_call() -> None:
    assert (
        last_text(
            [
                {"role": "user", "content": "Weather?"},
                {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            ]
        )
        == "f({})"
    )


def test_items_of_openai_s_responses_are_messages() -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
    items: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        call,
        {"type": "function_call_output", "id": "fo_1", "call_id": "c", "output": "7"},
    ]
    function = {"name": "f", "arguments": "{}"}
    assert chat(items, PayloadBox()) == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": None, "reasoning_content": "Hm."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "7", "tool_call_id": "c"},
    ]
