"""Answers what workers cannot answer from memory."""

from __future__ import annotations

import asyncio
from typing import Final

from keylease.errors import KeyleaseError, LeaseRefused
from keylease.primitives.clock import Clock
from keylease.strongroom.configuration import StaticKeyUse
from keylease.strongroom.gateway import messages
from keylease.strongroom.gateway.coordinator.batch_desk import BatchDesk
from keylease.strongroom.gateway.coordinator.credential_desk import CredentialDesk
from keylease.strongroom.gateway.coordinator.ledger_keeper import LedgerKeeper
from keylease.strongroom.gateway.coordinator.object_registry import ObjectRegistry
from keylease.strongroom.gateway.coordinator.worker_group import RunningWorker
from keylease.strongroom.gateway.interfaces import OwnedObject, PriceQuote
from keylease.strongroom.gateway.metering import prices
from keylease.strongroom.leases.exchange import TokenExchange

_PRICES: Final = 10_000


class Questions:
    """One per coordinator."""

    def __init__(
        self,
        *,
        ledger: LedgerKeeper,
        credentials: CredentialDesk,
        objects: ObjectRegistry,
        batches: BatchDesk,
        exchange: TokenExchange,
        static_keys: StaticKeyUse | None,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._credentials = credentials
        self._objects = objects
        self._batches = batches
        self._exchange = exchange
        self._static_keys = static_keys
        self._clock = clock
        self._quotes: dict[tuple[str, str], PriceQuote | None] = {}

    async def answer(self, worker: RunningWorker, question: messages.Question) -> None:
        """Answer one question, in any case; re-raises what is a defect."""
        try:
            answer = await self._answer(worker, question)
        except KeyleaseError as error:
            worker.send(messages.describe(question.request, error))
        except Exception:
            failure = KeyleaseError("The gateway failed to answer.")
            worker.send(messages.describe(question.request, failure))
            raise
        else:
            worker.send(answer)

    async def _answer(self, worker: RunningWorker, question: messages.Question) -> messages.Given:
        number = question.request
        match question:
            case messages.SliceWanted(_, demands, ahead):
                amounts = await self._ledger.reserve(worker.number, demands, ahead=ahead)
                return messages.SliceGranted(number, amounts)
            case messages.CredentialWanted(_, credential, fetched_after):
                given = await self._credentials.give(
                    credential.id, fetched_after=fetched_after, known_as=credential
                )
                fetched = given.fetched
                return messages.CredentialGiven(
                    number,
                    fetched.secret.reveal(why="hand it to the worker that makes the call"),
                    fetched.version,
                    fetched.fetched_at,
                    given.usable_seconds,
                )
            case messages.PriceWanted(_, provider, model):
                return messages.PriceGiven(number, await self.price(provider, model))
            case messages.ObjectRemembered() | messages.ObjectWanted() | messages.BatchEnded():
                return messages.ObjectGiven(number, await self._owned(question))
            case messages.TokenExchangeWanted() | messages.StaticKeyWanted():
                return await self._exchanged(question)

    async def _owned(
        self,
        question: messages.ObjectRemembered | messages.ObjectWanted | messages.BatchEnded,
    ) -> OwnedObject | None:
        match question:
            case messages.ObjectRemembered(_, owned):
                await self._objects.remember(owned)
                return owned
            case messages.ObjectWanted(_, object_id):
                return await self._objects.find(object_id)
            case messages.BatchEnded(_, batch_id, micro_usd):
                await self._batches.settle(batch_id, micro_usd)
                return None

    async def _exchanged(
        self, question: messages.TokenExchangeWanted | messages.StaticKeyWanted
    ) -> messages.Given:
        number = question.request
        match question:
            case messages.TokenExchangeWanted(_, form, content_type, dpop, peer, certificate):
                answer = await self._exchange.exchange(
                    form=form,
                    content_type=content_type,
                    dpop=dpop,
                    peer=peer,
                    certificate=certificate,
                )
                return messages.AnswerGiven(number, answer)
            case messages.StaticKeyWanted(_, key, peer):
                if self._static_keys is None:
                    raise LeaseRefused("API keys are not taken in the place of leases here.")
                lease = await self._exchange.exchange_static(key, self._static_keys, peer=peer)
                return messages.LeaseGiven(number, lease.token.encode())

    async def price(self, provider: str, model: str) -> PriceQuote | None:
        """The price of a model now, or ``None`` when the table does not have it."""
        key = (provider, model)
        if key not in self._quotes:
            quote = await asyncio.to_thread(prices.quote, provider, model, at=self._clock.now())
            if len(self._quotes) >= _PRICES:
                self._quotes.clear()
            self._quotes[key] = quote
        return self._quotes[key]
