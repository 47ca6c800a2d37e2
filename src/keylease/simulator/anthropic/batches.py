"""``/v1/messages/batches``: worked through when created, so that results exist at once."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from keylease.simulator.answers import identifier
from keylease.simulator.anthropic import messages
from keylease.simulator.exchange import (
    Answer,
    Call,
    Json,
    Refusal,
    TokenCount,
    json_answer,
    require,
    total_of,
)


class MessageBatches:
    """The batches of one simulated organization."""

    def __init__(self) -> None:
        self._batches: dict[str, tuple[Json, bytes]] = {}

    def create(self, call: Call) -> Answer:
        """Answer every request of the batch."""
        requests = require(call.json(), "requests", list)
        if not isinstance(requests, list) or not requests:
            raise Refusal(400, "requests: at least one request is required")
        counts: list[TokenCount] = []
        results = [
            self._one(call, request, index, counts) for index, request in enumerate(requests)
        ]
        succeeded = sum(result["result"]["type"] == "succeeded" for result in results)
        batch_id = identifier("msgbatch_", call.number)
        batch: Json = {
            "id": batch_id,
            "type": "message_batch",
            "processing_status": "ended",
            "request_counts": {
                "processing": 0,
                "succeeded": succeeded,
                "errored": len(results) - succeeded,
                "canceled": 0,
                "expired": 0,
            },
            "ended_at": _time(call.second),
            "created_at": _time(call.second),
            "expires_at": _time(call.second + 86_400),
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": _results_url(call, batch_id),
        }
        lines = b"".join(msgspec.json.encode(result) + b"\n" for result in results)
        self._batches[batch_id] = (batch, lines)
        models = [r["result"]["message"]["model"] for r in results if "message" in r["result"]]
        return json_answer(
            batch,
            model=models[0] if models else "",
            tokens=total_of(counts),
            requests=succeeded,
        )

    @staticmethod
    def _one(call: Call, request: object, index: int, counts: list[TokenCount]) -> Json:
        """The result of one request; ``counts`` gets what it is billed for."""
        if not isinstance(request, dict) or not isinstance(request.get("params"), dict):
            raise Refusal(400, f"requests.{index}.params: Field required")
        body = msgspec.json.encode(request["params"] | {"stream": False})
        inner = msgspec.structs.replace(call, body=body, number=call.number * 1_000_000 + index)
        result: Json
        try:
            answer = messages.create(inner)
            message = msgspec.json.decode(answer.body)
            if answer.tokens is not None:
                counts.append(answer.tokens)
            result = {"type": "succeeded", "message": message}
        except Refusal as refusal:
            error = {"type": "invalid_request_error", "message": refusal.message}
            result = {"type": "errored", "error": {"type": "error", "error": error}}
        return {"custom_id": request.get("custom_id"), "result": result}

    def _find(self, batch_id: str) -> tuple[Json, bytes]:
        if batch_id not in self._batches:
            raise Refusal(404, f"Message batch {batch_id} not found.")
        return self._batches[batch_id]

    def get(self, _call: Call, batch_id: str) -> Answer:
        """One batch."""
        return json_answer(self._find(batch_id)[0])

    def list(self, _call: Call) -> Answer:
        """Every batch, newest first."""
        data = [batch for batch, _ in reversed(self._batches.values())]
        return json_answer(
            {
                "data": data,
                "has_more": False,
                "first_id": data[0]["id"] if data else None,
                "last_id": data[-1]["id"] if data else None,
            }
        )

    def results(self, _call: Call, batch_id: str) -> Answer:
        """The answers, one JSON object a line."""
        return Answer(content_type="application/x-jsonl", body=self._find(batch_id)[1])

    def cancel(self, _call: Call, batch_id: str) -> Answer:
        """A batch that has ended cannot be cancelled."""
        self._find(batch_id)
        raise Refusal(400, f"Message batch {batch_id} has already ended.")

    def delete(self, _call: Call, batch_id: str) -> Answer:
        """Forget a batch."""
        self._find(batch_id)
        del self._batches[batch_id]
        return json_answer({"id": batch_id, "type": "message_batch_deleted"})


def _results_url(call: Call, batch_id: str) -> str:
    host = call.headers.get("host", "127.0.0.1")
    return f"http://{host}/v1/messages/batches/{quote(batch_id)}/results"


def _time(second: int) -> str:
    return f"{datetime.fromtimestamp(second, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"
