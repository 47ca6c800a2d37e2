"""Embeddings, moderations, models, images and audio: each a minimal but well-formed answer."""

from __future__ import annotations

import base64
import struct
from typing import Final

from keylease.simulator.answers import count_tokens, embedding, identifier, reply
from keylease.simulator.exchange import (
    Answer,
    Call,
    Json,
    Refusal,
    TokenCount,
    json_answer,
    require,
    text_of,
)
from keylease.simulator.failures import NO_SUCH_MODEL
from keylease.simulator.multipart import Part, read_parts

MODELS: Final = (
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-5",
    "gpt-5-mini",
    "gpt-3.5-turbo-instruct",
    "gpt-image-1",
    "o4-mini",
    "omni-moderation-latest",
    "text-embedding-3-large",
    "text-embedding-3-small",
    "tts-1",
    "whisper-1",
)
_MODELS_SINCE: Final = 1_700_000_000
_DIMENSIONS: Final = {"text-embedding-3-large": 3072}
_DEFAULT_DIMENSIONS: Final = 1536
_CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel."""
_SPEECH: Final = b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x00" + bytes(400)


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": _MODELS_SINCE, "owned_by": "simulator"}


def list_models(_call: Call) -> Answer:
    """Every model; calls may use other names too."""
    return json_answer({"object": "list", "data": [_model(name) for name in MODELS]})


def get_model(_call: Call, name: str) -> Answer:
    """One model."""
    if name == NO_SUCH_MODEL:
        raise Refusal(404, f"The model '{name}' does not exist", code="model_not_found")
    return json_answer(_model(name))


def embeddings(call: Call) -> Answer:
    """Vectors, as numbers or as base64 of little-endian 32-bit floats."""
    body = call.json()
    model = str(require(body, "model", str))
    given = require(body, "input", (str, list))
    texts: list[object] = [given]
    if isinstance(given, list):
        texts = [given] if given and isinstance(given[0], int) else given
    if not texts:
        raise Refusal(400, "'input' cannot be an empty array.", param="input")
    dimensions = body.get("dimensions") or _DIMENSIONS.get(model, _DEFAULT_DIMENSIONS)
    data: list[Json] = []
    tokens = TokenCount()
    for index, text in enumerate(texts):
        tokens.input_tokens += len(text) if isinstance(text, list) else count_tokens(str(text))
        values = embedding(str(text), dimensions)
        vector: object = values
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{dimensions}f", *values)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": tokens.input_tokens, "total_tokens": tokens.input_tokens}
    value = {"object": "list", "data": data, "model": model, "usage": usage}
    return json_answer(value, model=model, tokens=tokens)


def moderations(call: Call) -> Answer:
    """Nothing is ever flagged but texts with the word ``violence``."""
    body = call.json()
    given = require(body, "input", (str, list))
    results = []
    for item in given if isinstance(given, list) else [given]:
        flagged = "violence" in text_of(item)
        results.append(
            {
                "flagged": flagged,
                "categories": {name: flagged and name == "violence" for name in _CATEGORIES},
                "category_scores": {
                    name: 0.9 if flagged and name == "violence" else 0.0001 for name in _CATEGORIES
                },
                "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
            }
        )
    model = str(body.get("model") or "omni-moderation-latest")
    return json_answer({"id": identifier("modr-", call.number), "model": model, "results": results})


def _images(call: Call, model: str, prompt: str, count: int) -> Answer:
    tokens = TokenCount(input_tokens=count_tokens(prompt), output_tokens=1024 * count)
    picture = {"b64_json": base64.b64encode(_PIXEL).decode()}
    value = {
        "created": call.second,
        "data": [picture] * count,
        "usage": {
            "input_tokens": tokens.input_tokens,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": tokens.input_tokens},
            "output_tokens": tokens.output_tokens,
            "total_tokens": tokens.input_tokens + tokens.output_tokens,
        },
    }
    return json_answer(value, model=model, tokens=tokens)


def image_generations(call: Call) -> Answer:
    """Pictures of one pixel."""
    body = call.json()
    prompt = str(require(body, "prompt", str))
    return _images(call, str(body.get("model") or "gpt-image-1"), prompt, body.get("n") or 1)


def image_from_image(call: Call) -> Answer:
    """Edits and variations: a form with an image."""
    parts = read_parts(call.headers.get("content-type", ""), call.body)
    if "image" not in parts and "image[]" not in parts:
        raise Refusal(400, "Missing required parameter: 'image'.", param="image")
    return _images(
        call,
        _text(parts, "model") or "gpt-image-1",
        _text(parts, "prompt"),
        int(_text(parts, "n") or 1),
    )


def speech(call: Call) -> Answer:
    """Sound: a tag and a frame of silence."""
    body = call.json()
    model = str(require(body, "model", str))
    tokens = TokenCount(input_tokens=count_tokens(str(require(body, "input", str))))
    return Answer(content_type="audio/mpeg", body=_SPEECH, model=model, tokens=tokens)


def transcription(call: Call) -> Answer:
    """Text for a sound: drawn from its bytes."""
    parts = read_parts(call.headers.get("content-type", ""), call.body)
    sound = parts.get("file")
    if sound is None:
        raise Refusal(400, "Missing required parameter: 'file'.", param="file")
    model = _text(parts, "model") or "whisper-1"
    text = reply(model, f"{len(sound.data)} bytes of sound").text
    tokens = TokenCount(input_tokens=len(sound.data) // 1000, output_tokens=count_tokens(text))
    if _text(parts, "response_format") == "text":
        return Answer(
            content_type="text/plain; charset=utf-8",
            body=text.encode() + b"\n",
            model=model,
            tokens=tokens,
        )
    usage = {
        "type": "tokens",
        "input_tokens": tokens.input_tokens,
        "output_tokens": tokens.output_tokens,
        "total_tokens": tokens.input_tokens + tokens.output_tokens,
    }
    return json_answer({"text": text, "usage": usage}, model=model, tokens=tokens)


def _text(parts: dict[str, Part], name: str) -> str:
    return parts[name].data.decode("utf-8", "replace") if name in parts else ""
