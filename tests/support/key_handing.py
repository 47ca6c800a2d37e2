"""Answers of a provider that hands the caller's key back, each in another place."""

from __future__ import annotations

import json

from tests.support import hostile_upstream
from tests.support.hostile_upstream import Received


def key_handing_answers() -> list[hostile_upstream.Answer]:
    def in_model(request: Received) -> list[bytes]:
        document = hostile_upstream.chat_answer(model=request.key.decode())
        return [hostile_upstream.json_answer(document)]

    def in_request_id(request: Received) -> list[bytes]:
        document = hostile_upstream.chat_answer()
        return [hostile_upstream.json_answer(document, x_request_id=request.key.decode())]

    def escaped(request: Received) -> list[bytes]:
        text = "".join(f"\\u{byte:04x}" for byte in request.key)
        body = json.dumps(hostile_upstream.chat_answer(model="MODEL")).replace("Hello", text)
        body = body.replace("MODEL", text)
        fields = hostile_upstream.head("200 OK", len(body), content_type="application/json")
        return [fields + body.encode()]

    def over_events(request: Received) -> list[bytes]:
        key = request.key.decode()
        events = [hostile_upstream.delta(letter) for letter in key]
        chunks = [hostile_upstream.chunk(event) for event in events]
        return [
            hostile_upstream.stream_head(),
            *chunks,
            hostile_upstream.chunk(b"data: [DONE]\n\n") + hostile_upstream.chunk(b""),
        ]

    def in_an_error(request: Received) -> list[bytes]:
        error = {"error": {"message": f"bad key {request.key.decode()}", "code": "bad"}}
        return [hostile_upstream.json_answer(error, status="400 Bad Request")]

    def in_a_refusal(request: Received) -> list[bytes]:
        error = {"error": {"message": f"wrong key {request.key.decode()}"}}
        return [hostile_upstream.json_answer(error, status="401 Unauthorized")]

    def in_a_redirect(request: Received) -> list[bytes]:
        location = f"http://127.0.0.1:9/{request.key.decode()}"
        return [hostile_upstream.head("302 Found", 0, location=location)]

    return [
        in_model, in_request_id, escaped, over_events, in_an_error, in_a_refusal, in_a_redirect,
    ]  # fmt: skip
