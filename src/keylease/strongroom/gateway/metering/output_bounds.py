"""The most that a model writes in one answer, where a caller sets no bound of its own.

Two sources, and the first that knows the model counts:

1. ``_FAMILIES``: the largest output that OpenAI and Anthropic name on their models' pages. Compared
   in November 2026 with the list that LiteLLM 1.106 carries: no model of these families writes
   more than its line here. A name belongs to a family when it is the family's or goes on with a
   hyphen, so that a version that nobody looked up (``gpt-5.9``, ``gpt-4o:extended``) is none.
2. The model's context window out of the price table: input and output together fit into it.

A model that neither knows counts ``UNKNOWN``, which is as much as the largest context window of
any model in the table (a test compares them). That is far more than most answers have: a call to
such a model fits under a tight limit only if it says how much it wants.

Does not protect: against a model that is served under the name of another one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

UNKNOWN: Final = 2_000_000
"""Tokens."""
_FAMILIES: Final = (
    # Name of the family -> most tokens of one answer. Longer names first.
    ("gpt-4o-64k", 65_536),
    ("gpt-4o", 16_384),
    ("gpt-4.1", 32_768),
    ("gpt-4.5", 16_384),
    ("gpt-4-turbo", 4_096),
    ("gpt-4-32k", 32_768),
    ("gpt-3.5-turbo", 4_096),
    ("chatgpt-4o", 16_384),
    ("gpt-5-pro", 272_000),
    ("gpt-5", 128_000),
    ("gpt-5.1", 128_000),
    ("gpt-5.2", 128_000),
    ("gpt-5.3", 128_000),
    ("gpt-5.4", 128_000),
    ("gpt-5.5", 128_000),
    ("gpt-5.6", 128_000),
    ("gpt-6", 128_000),
    ("gpt-6.1", 128_000),
    ("gpt-audio", 16_384),
    ("o1", 100_000),
    ("o3", 100_000),
    ("o4", 100_000),
    ("claude-3-haiku", 4_096),
    ("claude-3-opus", 4_096),
    ("claude-3-sonnet", 4_096),
    ("claude-3-5-haiku", 8_192),
    ("claude-3-5-sonnet", 8_192),
    # Billed by the character and by the second: no tokens come out.
    ("tts-1", 0),
    ("whisper-1", 0),
)
_FINE_TUNED: Final = "ft:"


@lru_cache(maxsize=1024)
def output_bound(model: str, context_window: int | None) -> int:
    """The most tokens of one answer of ``model``, as its provider names it.

    ``context_window``: tokens, where the price table knows it.
    """
    name = model.rpartition("/")[2].removeprefix(_FINE_TUNED)
    if model.startswith(_FINE_TUNED):
        name = name.partition(":")[0]  # behind it stands whose it is
    for family, bound in _FAMILIES:
        if name == family or name.startswith(f"{family}-"):
            return bound
    return context_window or UNKNOWN
