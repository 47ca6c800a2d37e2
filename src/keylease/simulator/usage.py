"""The usage log of a simulated provider: per key, model and minute, as billing would report it."""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.simulator.exchange import Json, TokenCount

MINUTE: Final = 60


class UsageRow(msgspec.Struct, kw_only=True):
    """What one key used of one model in one minute."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class UsageLog:
    """Counts what was billed."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, str, str], UsageRow] = {}

    def add(
        self, *, second: int, key_id: str, model: str, tokens: TokenCount, requests: int = 1
    ) -> None:
        """Bill one call; a stream that was cut is billed for what it had sent."""
        place = (second - second % MINUTE, key_id, model)
        row = self._rows.setdefault(place, UsageRow())
        row.requests += requests
        row.input_tokens += tokens.input_tokens
        row.cached_tokens += tokens.cached_tokens
        row.output_tokens += tokens.output_tokens

    def page(self, *, start: int = 0, end: int | None = None, key_id: str = "") -> Json:
        """The log in the shape of OpenAI's ``organization/usage/completions``.

        Buckets of one minute that begin in ``start <= second < end``, grouped by key and model.
        """
        buckets: dict[int, list[Json]] = {}
        for (minute, key, model), row in sorted(self._rows.items()):
            if minute < start or (end is not None and minute >= end) or key_id not in ("", key):
                continue
            buckets.setdefault(minute, []).append(
                {
                    "object": "organization.usage.completions.result",
                    "input_tokens": row.input_tokens,
                    "output_tokens": row.output_tokens,
                    "input_cached_tokens": row.cached_tokens,
                    "input_audio_tokens": 0,
                    "output_audio_tokens": 0,
                    "num_model_requests": row.requests,
                    "project_id": None,
                    "user_id": None,
                    "api_key_id": key,
                    "model": model,
                    "batch": None,
                }
            )
        data = [
            {
                "object": "bucket",
                "start_time": minute,
                "end_time": minute + MINUTE,
                "results": results,
            }
            for minute, results in buckets.items()
        ]
        return {"object": "page", "data": data, "has_more": False, "next_page": None}
