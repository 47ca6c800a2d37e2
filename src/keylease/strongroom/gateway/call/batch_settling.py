"""A batch draws what it may use at most when it is started, and what it used once that is known.

So does a response in the background: both go on when the call that started them is over.

Promise: nobody has to ask for it. Whoever reads the batch after its end, its results, or the
    finished response through this gateway has its charge settled before the answer is whole: the
    rest goes back to the budgets, and what it used over the bound, if a provider allows that, is
    charged.
Limits: only the period that was charged gets something back: a daily budget has forgotten the
    charge on the next day. What nobody reads keeps the charge of its bound. Token limits count by
    the minute, and get nothing back.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine

from keylease.contracts.catalogue import WireFormat
from keylease.errors import StorageError
from keylease.strongroom.gateway.call import objects
from keylease.strongroom.gateway.call.accounting import Account
from keylease.strongroom.gateway.call.attempt import Attempt
from keylease.strongroom.gateway.call.batch_files import CheckedFile
from keylease.strongroom.gateway.call.call_environment import CallEnvironment
from keylease.strongroom.gateway.interfaces import BatchCharge
from keylease.strongroom.gateway.metering.batch_usage import BatchReader
from keylease.strongroom.gateway.providers.interfaces import TellsOfBatch


async def look_on(
    environment: CallEnvironment,
    account: Account,
    wire_format: WireFormat,
    charge: BatchCharge | None,
) -> None:
    """Have the answer read, if it can say what a batch used whose charge is open."""
    tells_of = account.operation.tells_of
    if charge is None or tells_of is TellsOfBatch.NOTHING:
        return
    price = await environment.prices.ask(charge.provider, charge.model)
    if price is not None:
        account.batch_reader = BatchReader(wire_format, charge, price, tells_of)


def charges_of(account: Account, attempt: Attempt, object_id: str) -> dict[str, BatchCharge]:
    """What a call that goes on is charged, where its answer does not say what it used."""
    if not account.goes_on:
        return {}
    answer = attempt.metered()
    if answer is not None and answer.usage is not None:
        return {}
    charge = account.later_charge(object_id)
    return {object_id: charge} if charge is not None else {}


def remembering(
    environment: CallEnvironment, account: Account, attempt: Attempt, names: tuple[str, ...]
) -> Callable[[], Coroutine[object, object, None]]:
    """Work for a client that left in the middle of a stream that had named its object already.

    Ask for it before the account is closed: what is charged then is read here.
    """
    target = account.target
    charges = charges_of(account, attempt, names[0])

    async def remember_names() -> None:
        if target is not None:
            await objects.remember(
                environment.link,
                account.claims,
                target.credential.id,
                names,
                batch_charges=charges,
            )

    return remember_names


async def remember(
    environment: CallEnvironment, account: Account, attempt: Attempt, file: CheckedFile | None
) -> None:
    """Store what a whole answer made, and settle the batch that it speaks of.

    Raises ``StorageError`` where an owner could not be stored.
    """
    target = account.target
    reader = account.batch_reader
    learned = attempt.learned
    charges: dict[str, BatchCharge] = {}
    if reader is not None:
        attempt.metered()
        charges[reader.results_id] = reader.charge
    elif learned:
        charges = charges_of(account, attempt, learned[0])
    if target is not None and learned:
        await objects.remember(
            environment.link,
            account.claims,
            target.credential.id,
            learned,
            batch_models=file.models if file is not None else (),
            batch_bound=file.bound if file is not None else None,
            batch_charges=charges,
        )
    if reader is not None and reader.cost is not None:
        try:
            await environment.link.settle_batch(reader.charge.batch_id, reader.cost)
        except StorageError:
            # The coordinator has said so in its log, and the caller's answer is good all the same.
            # The charge stays until the batch is read again, or the gateway starts.
            return
