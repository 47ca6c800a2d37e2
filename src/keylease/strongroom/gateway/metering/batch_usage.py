"""Reads from answers about a batch what it really cost.

OpenAI says it in the batch, once that has ended: ``usage``. Older batches, and some compatible
providers, do not; then the file with the results says it line by line. Anthropic says it in the
results only. Requests that failed, were cancelled or expired cost nothing at either. A response in
the background says it when it has ended; one that failed may have cost something all the same.

Protects: budgets against giving back too much. What cannot be read, or is not the whole, settles
    nothing: the charge of the upper bound stays.
Does not protect: against a provider that reports wrong numbers.
Limits: a line over ``_LONGEST_LINE`` bytes, or one that succeeded without saying what it used,
    makes the cost unknown.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.call_records import Usage
from keylease.contracts.catalogue import WireFormat
from keylease.primitives import model_prices
from keylease.primitives.model_prices import PriceQuote
from keylease.strongroom.gateway.interfaces import BatchCharge
from keylease.strongroom.gateway.metering import prices
from keylease.strongroom.gateway.metering.meters import MeteredAnswer, UsageMeter
from keylease.strongroom.gateway.metering.usage import usage_of
from keylease.strongroom.gateway.metering.wire import BatchLine, BatchObject
from keylease.strongroom.gateway.providers.interfaces import TellsOfBatch

_LONGEST_BATCH: Final = 1024 * 1024
"""Bytes; a batch's description has a few thousand."""
_LONGEST_LINE: Final = 16 * 1024 * 1024
_ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled", "incomplete"})
"""OpenAI's words for a batch, or a response, of which nothing more will be carried out."""
_OK: Final = range(200, 300)
_decode_batch: Final = msgspec.json.Decoder(BatchObject).decode
_decode_line: Final = msgspec.json.Decoder(BatchLine).decode
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class BatchReader(UsageMeter):
    """Sees every byte of one answer about a batch; ``cost`` and the like hold after ``finish``."""

    def __init__(
        self,
        wire_format: WireFormat,
        charge: BatchCharge,
        price: PriceQuote,
        tells_of: TellsOfBatch,
    ) -> None:
        self.charge: Final = charge
        self.cost: int | None = None
        """Micro-USD; ``None`` where the batch goes on, or the answer does not say."""
        self.results_id = ""
        """Of the file with the results of a batch that has ended."""
        self._wire_format = wire_format
        self._price = price
        self._results = tells_of is TellsOfBatch.RESULTS
        self._response = tells_of is TellsOfBatch.RESPONSE
        self._pieces: list[bytes] = []
        """Of the batch, or of a line that is not whole."""
        self._size = 0
        self._lines = 0
        self._pico_usd = 0
        self._unknown = False

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        if self._unknown:
            return
        end = chunk.rfind(b"\n") if self._results else -1
        if end < 0:
            self._hold(chunk)
            return
        self._pieces.append(chunk[:end])
        whole = b"".join(self._pieces)
        self._pieces = []
        self._size = 0
        for line in whole.split(b"\n"):
            self._line(line)
        self._hold(chunk[end + 1 :])

    def _hold(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > (_LONGEST_LINE if self._results else _LONGEST_BATCH):
            self._give_up()

    def _give_up(self) -> None:
        self._unknown = True
        self._pieces = []

    def finish(self) -> MeteredAnswer:
        """The answer is whole. What it says is about other calls than this one: no usage."""
        rest = b"".join(self._pieces)
        self._pieces = []
        if self._results:
            self._line(rest)
            if self._lines and not self._unknown:
                self.cost = model_prices.micro_usd_of(self._pico_usd)
        elif not self._unknown:
            self._batch(rest)
        return MeteredAnswer()

    # --- the batch -------------------------------------------------------------------------------

    def _batch(self, data: bytes) -> None:
        try:
            batch = _decode_batch(data)
        except _UNDECODABLE:
            return
        counts = batch.request_counts
        if self._wire_format is WireFormat.ANTHROPIC:
            if batch.processing_status == "ended" and counts is not None and not counts.succeeded:
                self.cost = 0
            return
        if batch.status not in _ENDED:
            return
        self.results_id = batch.output_file_id or ""
        usage = usage_of(batch.usage, self._wire_format)
        if usage is not None and (usage.input_tokens or usage.output_tokens):
            self.cost = prices.batch_micro_usd(
                self._price,
                usage,
                requests=counts.completed if counts is not None else self.charge.requests,
                largest_input=self.charge.largest_input,
            )
        elif (
            not self._response
            and not self.results_id
            and (batch.status == "failed" or (counts is not None and not counts.completed))
        ):
            self.cost = 0

    # --- its results -----------------------------------------------------------------------------

    def _line(self, line: bytes) -> None:
        if self._unknown or not line.strip():
            return
        self._lines += 1
        try:
            read = _decode_line(line)
        except _UNDECODABLE:
            self._give_up()
            return
        usage: Usage | None = None
        if self._wire_format is WireFormat.ANTHROPIC:
            result = read.result
            if result is not None and result.type in ("errored", "canceled", "expired"):
                return
            if result is not None and result.message is not None:
                usage = usage_of(result.message.usage, self._wire_format)
        else:
            response = read.response
            if response is None or (response.status_code and response.status_code not in _OK):
                return
            if response.body is not None:
                usage = usage_of(response.body.usage, self._wire_format)
        if usage is None:
            self._give_up()
            return
        self._pico_usd += model_prices.cost_pico_usd(self._price, usage, usage.input_tokens)
