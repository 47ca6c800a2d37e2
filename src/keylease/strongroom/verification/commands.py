"""``python -I -m keylease.strongroom verify``: ask providers about the keys that stdin brings.

stdin gets frames of ``contracts.verification`` and ends when the scan has looked at everything;
stdout then gets one line of JSON, a list of verdicts; stderr gets talk. A key is in neither.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from keylease.contracts.verification import Question, QuestionFrames
from keylease.errors import ProcessError
from keylease.primitives.clock import Clock, SystemClock
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.verification.asking import Asker

_PIECE: Final = 64 * 1024


def main(
    rest: Sequence[str], configuration: GatewayConfiguration | None, *, clock: Clock | None = None
) -> int:
    """Ask until stdin ends and everything was asked. Raises ``KeyleaseError``."""
    if rest:
        raise ProcessError("The strongroom's verification takes no further argument.")
    places = configuration.verification if configuration is not None else ()
    asker = Asker(places=places, clock=clock or SystemClock())
    verdicts = asyncio.run(asker.verdicts(_questions()))
    sys.stdout.write(msgspec.json.encode(verdicts).decode() + "\n")
    return 0


async def _questions() -> AsyncIterator[Question]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_PIECE)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    frames = QuestionFrames()
    try:
        while piece := await reader.read(_PIECE):
            try:
                questions = frames.feed(piece)
            except ValueError as error:
                raise ProcessError(f"The scanner sent what is no question: {error}.") from None
            for question in questions:
                yield question
    finally:
        transport.close()
