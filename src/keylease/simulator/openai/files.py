"""``/v1/files`` and ``/v1/batches``: what callers leave with the provider.

A batch is worked through when it is created: its files exist at once, one with what succeeded and
one with what failed, where there is any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from keylease.simulator.answers import identifier
from keylease.simulator.exchange import (
    Answer,
    Call,
    Json,
    Refusal,
    json_answer,
    require,
    total_of,
)
from keylease.simulator.multipart import read_parts

Handler = Callable[[Call], Answer]


class Files:
    """The files of one simulated organization."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Json, bytes]] = {}

    def store(self, *, file_id: str, second: int, name: str, purpose: str, data: bytes) -> Json:
        """Keep a file; gives the object that describes it."""
        description: Json = {
            "id": file_id,
            "object": "file",
            "bytes": len(data),
            "created_at": second,
            "expires_at": None,
            "filename": name,
            "purpose": purpose,
            "status": "processed",
            "status_details": None,
        }
        self._files[file_id] = (description, data)
        return description

    def find(self, file_id: str) -> tuple[Json, bytes]:
        """A file with its bytes; raises ``Refusal``."""
        found = self._files.get(file_id)
        if found is None:
            raise Refusal(404, f"No such File object: {file_id}", param="id")
        return found

    def upload(self, call: Call) -> Answer:
        """Take a file from a form."""
        parts = read_parts(call.headers.get("content-type", ""), call.body)
        for name in ("file", "purpose"):
            if name not in parts:
                raise Refusal(400, f"'{name}' is a required property", param=name)
        description = self.store(
            file_id=identifier("file-", call.number),
            second=call.second,
            name=parts["file"].file_name,
            purpose=parts["purpose"].data.decode("utf-8", "replace"),
            data=parts["file"].data,
        )
        return json_answer(description)

    def list(self, call: Call) -> Answer:
        """Every file, newest first."""
        purpose = call.query.get("purpose")
        data = [
            description
            for description, _ in reversed(self._files.values())
            if purpose in (None, description["purpose"])
        ]
        return json_answer(page(data))

    def get(self, _call: Call, file_id: str) -> Answer:
        """One file's description."""
        return json_answer(self.find(file_id)[0])

    def content(self, _call: Call, file_id: str) -> Answer:
        """One file's bytes."""
        return Answer(content_type="application/octet-stream", body=self.find(file_id)[1])

    def delete(self, _call: Call, file_id: str) -> Answer:
        """Forget a file."""
        self.find(file_id)
        del self._files[file_id]
        return json_answer({"id": file_id, "object": "file", "deleted": True})


class _Line(msgspec.Struct, frozen=True):
    """What came of one line of a batch's file."""

    said: Json
    answer: Answer | None
    """``None``: it failed."""


class Batches:
    """The batches of one simulated organization."""

    def __init__(self, files: Files, endpoints: Mapping[str, Handler]) -> None:
        """``endpoints`` are the paths a batch may call."""
        self._files = files
        self._endpoints = endpoints
        self._batches: dict[str, Json] = {}

    def create(self, call: Call) -> Answer:
        """Work through the input file and keep the output file."""
        body = call.json()
        input_file_id = str(require(body, "input_file_id", str))
        endpoint = str(require(body, "endpoint", str))
        window = str(require(body, "completion_window", str))
        if endpoint not in self._endpoints:
            raise Refusal(400, f"Invalid endpoint: '{endpoint}'.", param="endpoint")
        lines = self._files.find(input_file_id)[1].splitlines()
        results = [self._line(call, endpoint, line, index) for index, line in enumerate(lines)]
        good = [result for result in results if result.answer is not None]
        bad = [result for result in results if result.answer is None]
        tokens = total_of(r.answer.tokens for r in good if r.answer and r.answer.tokens)
        models = [r.answer.model for r in good if r.answer and r.answer.model]
        batch_id = identifier("batch_", call.number)
        batch: Json = {
            "id": batch_id,
            "object": "batch",
            "endpoint": endpoint,
            "model": models[0] if models else None,
            "errors": None,
            "input_file_id": input_file_id,
            "completion_window": window,
            "status": "completed",
            "output_file_id": self._keep(call, batch_id, "output", good),
            "error_file_id": self._keep(call, batch_id, "error", bad),
            "created_at": call.second,
            "in_progress_at": call.second,
            "expires_at": call.second + 86_400,
            "completed_at": call.second,
            "request_counts": {
                "total": len(results),
                "completed": len(good),
                "failed": len(bad),
            },
            "usage": {
                "input_tokens": tokens.input_tokens,
                "input_tokens_details": {"cached_tokens": tokens.cached_tokens},
                "output_tokens": tokens.output_tokens,
                "output_tokens_details": {"reasoning_tokens": tokens.reasoning_tokens},
                "total_tokens": tokens.input_tokens + tokens.output_tokens,
            },
            "metadata": body.get("metadata"),
        }
        self._batches[batch_id] = batch
        billed = models[0] if models else ""
        return json_answer(batch, model=billed, tokens=tokens, requests=len(good))

    def _keep(self, call: Call, batch_id: str, kind: str, results: list[_Line]) -> str | None:
        """The file of the requests that came to one end, as OpenAI parts them."""
        if not results:
            return None
        stored = self._files.store(
            file_id=identifier("file-", call.number, kind),
            second=call.second,
            name=f"{batch_id}_{kind}.jsonl",
            purpose="batch_output",
            data=b"".join(msgspec.json.encode(result.said) + b"\n" for result in results),
        )
        return str(stored["id"])

    def _line(self, call: Call, endpoint: str, line: bytes, index: int) -> _Line:
        custom_id = None
        answer: Answer | None = None
        try:
            request = msgspec.json.decode(line, type=dict)
            custom_id = request.get("custom_id")
            body = msgspec.json.encode(request.get("body", {}) | {"stream": False})
            inner = msgspec.structs.replace(
                call, body=body, path=endpoint, number=call.number * 1_000_000 + index
            )
            answer = self._endpoints[endpoint](inner)
            status, content = answer.status, msgspec.json.decode(answer.body)
        except msgspec.DecodeError:
            status, content = 400, {"error": {"message": "This line is not valid JSON."}}
        except Refusal as refusal:
            status, content = refusal.status, {"error": {"message": refusal.message}}
        said = {
            "id": identifier("batch_req_", call.number, str(index)),
            "custom_id": custom_id,
            "response": {
                "status_code": status,
                "request_id": identifier("req_", call.number, str(index)),
                "body": content,
            },
            "error": None,
        }
        return _Line(said, answer)

    def _find(self, batch_id: str) -> Json:
        if batch_id not in self._batches:
            raise Refusal(404, f"No batch found with id '{batch_id}'.")
        return self._batches[batch_id]

    def get(self, _call: Call, batch_id: str) -> Answer:
        """One batch."""
        return json_answer(self._find(batch_id))

    def cancel(self, call: Call, batch_id: str) -> Answer:
        """Completed batches cannot be cancelled, and batches are completed at once."""
        self._find(batch_id)
        del call
        raise Refusal(409, "Cannot cancel a batch with status 'completed'.")

    def list(self, _call: Call) -> Answer:
        """Every batch, newest first."""
        return json_answer(page(list(reversed(self._batches.values()))))


def page(data: list[Json]) -> Json:
    """A list as OpenAI pages it; here always on one page."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": False,
    }
