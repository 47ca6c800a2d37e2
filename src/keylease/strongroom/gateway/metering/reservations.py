"""Upper bounds of what a call may use, computed before it is sent.

The bounds must hold, or concurrent calls could exceed a budget. So they are high: a tokenizer
never makes more tokens than the text has bytes, because every token stands for at least one byte.
What a body only points to (an image at a URL, a file, an earlier response) gets an allowance.

Not bounded: text that a provider adds itself, such as the pages found by its web search, and
earlier responses that are longer than ``REFERENCE_TOKENS``. The real usage is charged in the end,
so a budget then ends lower than it should, by that call.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.strongroom.gateway.metering.output_bounds import output_bound

IMAGE_TOKENS: Final = 50_000
"""OpenAI's gpt-4o-mini counts 2,833 + 5,667 for each of at most 8 tiles of a high-detail image:
48,169, the most of any model. Anthropic's models count under 5,000."""
REFERENCE_TOKENS: Final = 100_000
"""For a file, a stored prompt or an earlier response that the body names."""
_IMAGE_OUTPUT: Final = 10_000
"""gpt-image counts 6,240 tokens for a large image of high quality."""
_NO_OUTPUT: Final = frozenset({"embeddings", "moderations", "count_tokens"})
_IMAGE_OPERATIONS: Final = frozenset({"image_generation", "image_edit", "image_variation"})
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=_\\-]*")
_IMAGE_TYPE: Final = re.compile(
    rb'"(?:(?:image_)?url"\s{0,4}:\s{0,4}"data:|media_type"\s{0,4}:\s{0,4}")image/[a-z0-9.+-]{1,32}'
)
"""Where providers expect an image. In any other member the same bytes are text and cost as much."""
_IMAGE_PREFIX: Final = 512
"""Bytes before the data in which an inline image says that it is one."""
_POINTERS: Final = (b'"file_id"', b'"previous_response_id"', b'"conversation"', b'"prompt":{')
_IMAGE_POINTERS: Final = (b'"image_url"', b'"input_image"', b'"type":"image"', b'"type": "image"')
_POINTING_MEMBERS: Final = frozenset(
    {"conversation", "file_id", "image", "image_url", "previous_response_id", "prompt", "type"}
)
"""Members that whatever is in the two lists above, or an inline image, is a name or a value of."""
_LONG_RUN: Final = 4096
"""Bytes of base64 from which an image is taken for what it is."""


class Reservation:
    """An upper bound of what a call will use, before it is sent."""

    __slots__ = ("input_tokens", "largest_input", "open_answers", "output_tokens", "requests")

    def __init__(
        self,
        *,
        input_tokens: int,
        output_tokens: int,
        requests: int = 1,
        largest_input: int = 0,
        open_answers: int = 0,
    ) -> None:
        self.input_tokens: Final = input_tokens
        self.output_tokens: Final = output_tokens
        self.requests: Final = requests
        """More than one in a batch."""
        self.largest_input: Final = largest_input or input_tokens
        """Of one of them."""
        self.open_answers: Final = open_answers
        """Of a batch: answers that nothing but the model bounds."""

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


def estimate_input_tokens(body: bytes, names: set[str] | None = None) -> int:
    """Bound the input tokens of a request body from above: its bytes, and allowances.

    An image that is sent inside the body counts ``IMAGE_TOKENS`` instead of its bytes, where that
    is less; so does one that is only pointed to.

    Args:
        body: what will be sent.
        names: of all members of a JSON body, where they are known; most bodies have none of those
            that point to something, and then their bytes need not be searched.
    """
    bound = len(body)
    if names is not None and names.isdisjoint(_POINTING_MEMBERS):
        return bound
    for pointer in _IMAGE_POINTERS:
        bound += IMAGE_TOKENS * body.count(pointer)
    for pointer in _POINTERS:
        bound += REFERENCE_TOKENS * body.count(pointer)
    if len(body) > _LONG_RUN and b"base64" in body:
        bound -= _inline_image_bytes(body)
    return bound


def _inline_image_bytes(body: bytes) -> int:
    """Bytes of inline images beyond what ``IMAGE_TOKENS`` already counts for each."""
    total = 0
    for image in _IMAGE_TYPE.finditer(body):
        # The data begins within a few bytes: `;base64,` or `","data":"`.
        start = max(
            body.find(b";base64,", image.end(), image.end() + 16) + len(b";base64,"),
            body.find(b'"data"', image.end(), image.end() + _IMAGE_PREFIX) + len(b'"data"'),
        )
        if start < image.end():
            continue
        while start < len(body) and body[start : start + 1] in b'": ':
            start += 1
        run = _BASE64.match(body, start)
        length = run.end() - start if run is not None else 0
        if length > _LONG_RUN:
            total += max(0, length - IMAGE_TOKENS)
    return total


def answer_bound(operation: str, max_tokens: int | None) -> int | None:
    """The most output tokens of one answer; ``None`` when nothing but its model bounds it.

    ``max_tokens``: what the caller asked for at most, by whichever of its names.
    """
    if operation in _NO_OUTPUT:
        return 0
    if operation in _IMAGE_OPERATIONS:
        return _IMAGE_OUTPUT
    return max_tokens if max_tokens is not None and max_tokens > 0 else None


def reserve_for(
    body: bytes,
    *,
    operation: str,
    model: str,
    max_tokens: int | None = None,
    choices: int = 1,
    names: set[str] | None = None,
    context_window: int | None = None,
) -> Reservation:
    """Bound what a call may use; ``max_tokens`` is whichever of its three names the body has."""
    each = answer_bound(operation, max_tokens)
    if each is None:
        each = output_bound(model, context_window)
    return Reservation(
        input_tokens=estimate_input_tokens(body, names), output_tokens=each * max(1, choices)
    )
