"""Objects that a provider keeps for its account: files, batches, stored responses.

All callers of a credential share one account at the provider, so the gateway remembers who made
what.

Protects: a principal's objects from every other principal that uses the same credential, in paths
    and in bodies; the call goes to the credential that made the object.
Does not protect: objects that were made without this gateway; only a grant with
    ``objects = "all"`` reaches them.
    Nor what only the provider reads: messages may name sound that an earlier answer made, or
    skills of the account. Whoever learned such an identifier, which is random, reaches it.
Limits: whoever may use an object may use it whatever was done to it at the provider meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from keylease.contracts.leases import LeaseClaims
from keylease.errors import ObjectNotAllowed
from keylease.strongroom.gateway.call.routing import Decision, ResolvedTarget
from keylease.strongroom.gateway.interfaces import (
    BatchBound,
    BatchCharge,
    CoordinatorLink,
    OwnedObject,
)
from keylease.strongroom.gateway.metering.sse import SseSplitter
from keylease.strongroom.gateway.providers.interfaces import OBJECT_ID

_MAXIMUM_NAMED: Final = 256
_MAXIMUM_EVENT: Final = 64 * 1024 * 1024
_ANYTHING: Final = msgspec.json.Decoder()
_NAMING_EVENTS: Final = (
    b'"response.created"',
    b'"response.completed"',
    b'"response.incomplete"',
    b'"response.failed"',
)
_ADVICE: Final = 'Use objects that you created, or ask for a grant with objects = "all".'
_NO_CHARGES: Final[dict[str, BatchCharge]] = {}


class Located:
    """Where the named objects are."""

    __slots__ = ("batch_charge", "own", "targets")

    def __init__(
        self,
        targets: tuple[ResolvedTarget, ...],
        *,
        own: bool,
        batch_charge: BatchCharge | None = None,
    ) -> None:
        self.targets: Final = targets
        self.batch_charge: Final = batch_charge
        """Where one of them is a batch, or its results: what it was charged, if that is open."""
        self.own: Final = own
        """The caller created every one of them."""


async def locate(
    link: CoordinatorLink,
    claims: LeaseClaims,
    decision: Decision,
    object_ids: tuple[str, ...],
    *,
    many: bool = False,
) -> Located:
    """The targets that hold the objects; raises ``ObjectNotAllowed``.

    ``many``: who asks has bounded their number already.
    """
    if len(object_ids) > _MAXIMUM_NAMED and not many:
        raise ObjectNotAllowed(f"The request names more than {_MAXIMUM_NAMED} stored objects.")
    targets = decision.targets
    own = True
    batch_charge: BatchCharge | None = None
    for object_id in object_ids:
        owned = await link.find_object(object_id) if OBJECT_ID.fullmatch(object_id) else None
        if not decision.objects_all and (owned is None or owned.principal != claims.sub):
            raise ObjectNotAllowed(
                "The request names a stored object that you did not create through this gateway.",
                advice=_ADVICE,
            )
        if owned is not None:
            batch_charge = batch_charge or owned.batch_charge
            targets = tuple(t for t in targets if t.credential.id == owned.credential_id)
            if not targets:
                raise ObjectNotAllowed(
                    "The object was created with a credential that your lease does not reach "
                    "for this request, or with another one than an object beside it.",
                    advice="Use a lease of the purpose and environment that created it.",
                )
        own = own and owned is not None and owned.principal == claims.sub
    return Located(targets, own=own, batch_charge=batch_charge)


def require_listing(decision: Decision) -> None:
    """Refuse to list an account's objects to somebody who may only see their own."""
    if not decision.objects_all:
        raise ObjectNotAllowed(
            "A list would show the objects of everybody who uses this credential.",
            advice='It takes a grant with objects = "all". Objects can be read by their id.',
        )


def named_in(body: bytes, members: tuple[str, ...]) -> tuple[str, ...]:
    """Identifiers that a whole answer gives to what now belongs to the caller."""
    try:
        answer = _ANYTHING.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return _named(answer, members)


def _named(answer: object, members: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(answer, dict):
        return ()
    found = [answer.get(member) for member in members]
    output = answer.get("output")
    if isinstance(output, list):
        found += [item.get("id") for item in output if isinstance(item, dict)]
    return tuple(
        dict.fromkeys(name for name in found if isinstance(name, str) and OBJECT_ID.fullmatch(name))
    )


class StreamedNames:
    """Reads from a stream of the Responses API what it gives identifiers to."""

    __slots__ = ("_splitter", "found")

    def __init__(self) -> None:
        self._splitter = SseSplitter(limit=_MAXIMUM_EVENT)
        self.found: dict[str, None] = {}

    def feed(self, data: bytes) -> None:
        """Look at the next bytes."""
        for event in self._splitter.feed(data):
            if any(name in event.data for name in _NAMING_EVENTS):
                self._read(event.data)

    def _read(self, data: bytes) -> None:
        try:
            decoded = _ANYTHING.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if isinstance(decoded, dict):
            self.found.update(dict.fromkeys(_named(decoded.get("response"), ("id",))))


async def remember(
    link: CoordinatorLink,
    claims: LeaseClaims,
    credential_id: str,
    object_ids: tuple[str, ...],
    *,
    batch_models: tuple[str, ...] = (),
    batch_bound: BatchBound | None = None,
    batch_charges: Mapping[str, BatchCharge] = _NO_CHARGES,
) -> None:
    """Store that the caller made these objects. Raises ``StorageError``.

    ``batch_models``, ``batch_bound``: see ``OwnedObject``. ``batch_charges``: for those of the
    objects that are a batch, or its results.
    """
    for object_id in object_ids:
        await link.remember_object(
            OwnedObject(
                object_id=object_id,
                principal=claims.sub,
                credential_id=credential_id,
                purpose=claims.purpose.value,
                environment=claims.environment,
                batch_models=batch_models,
                batch_bound=batch_bound,
                batch_charge=batch_charges.get(object_id),
            )
        )
