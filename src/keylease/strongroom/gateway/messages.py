"""What a worker and its coordinator say to each other.

Both are always of one version: the coordinator starts its workers itself. Nothing here is stored.
Secrets travel in ``CredentialGiven`` only, over a socket pair that no third process holds; its
``repr`` shows stars.
"""

from __future__ import annotations

import msgspec

from keylease.contracts.policy import Credential, PolicyBundle, Revocation
from keylease.errors import KeyleaseError, LimitReached, StorageError, TokenExchangeRefused
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.gateway.interfaces import (
    Demand,
    HttpAnswer,
    LimitKey,
    OwnedObject,
    PriceQuote,
)
from keylease.strongroom.secrets import STARS


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Arrays with the class name in front: small and quick."""


# --- coordinator to worker ---------------------------------------------------------------------


class Begin(_Message, frozen=True, array_like=True, tag=True):
    """The first message: everything a worker decides by."""

    configuration: GatewayConfiguration
    jwks: bytes
    policy: PolicyBundle | None
    """``None``: none may be served."""
    revocations: tuple[Revocation, ...]
    accepts_calls: bool
    readiness: HttpAnswer


class ReplacePolicy(_Message, frozen=True, array_like=True, tag=True):
    """Decide by this bundle from the next request on; ``None`` serves nothing."""

    policy: PolicyBundle | None


class ReplaceKeys(_Message, frozen=True, array_like=True, tag=True):
    """Verify leases with these public keys from now on."""

    jwks: bytes


class ReplaceRevocations(_Message, frozen=True, array_like=True, tag=True):
    """All revocations in force. ``order`` is confirmed with ``RevocationsInForce``."""

    order: int
    revocations: tuple[Revocation, ...]


class ReplaceReadiness(_Message, frozen=True, array_like=True, tag=True):
    """The answer to ``GET /readyz`` from now on."""

    readiness: HttpAnswer


class SpoolChanged(_Message, frozen=True, array_like=True, tag=True):
    """Whether calls are accepted."""

    accepts_calls: bool


class ForgetCredentials(_Message, frozen=True, array_like=True, tag=True):
    """Drop these secrets; ask again before they are used."""

    credential_ids: tuple[str, ...]


class RecallSlices(_Message, frozen=True, array_like=True, tag=True):
    """Report and give back what is not in use of these limits; of all when empty."""

    order: int
    keys: tuple[LimitKey, ...] = ()


class Drain(_Message, frozen=True, array_like=True, tag=True):
    """Take no new connection, finish what runs, then end."""


class CredentialGiven(_Message, frozen=True, array_like=True, tag=True):
    """A secret, for this worker's memory only."""

    request: int
    secret: bytes
    version: str
    fetched_at: int
    usable_seconds: float
    """How long it may be used before it is asked for again."""

    def __repr__(self) -> str:
        return f"CredentialGiven(request={self.request}, secret={STARS})"


class SliceGranted(_Message, frozen=True, array_like=True, tag=True):
    """Amounts in the order of the request's demands; journalled before this was sent."""

    request: int
    amounts: tuple[int, ...]


class PriceGiven(_Message, frozen=True, array_like=True, tag=True):
    """The price of a model, or none."""

    request: int
    price: PriceQuote | None


class ObjectGiven(_Message, frozen=True, array_like=True, tag=True):
    """Who owns an object; also confirms that an owner was stored, or that a batch is settled."""

    request: int
    owned: OwnedObject | None


class AnswerGiven(_Message, frozen=True, array_like=True, tag=True):
    """An HTTP answer for a worker to send."""

    request: int
    answer: HttpAnswer

    def __repr__(self) -> str:
        return f"AnswerGiven(request={self.request}, status={self.answer.status})"


class LeaseGiven(_Message, frozen=True, array_like=True, tag=True):
    """A lease, for this worker's memory only."""

    request: int
    lease: bytes

    def __repr__(self) -> str:
        return f"LeaseGiven(request={self.request}, lease={STARS})"


class Failed(_Message, frozen=True, array_like=True, tag=True):
    """A request ended in one of our errors."""

    request: int
    code: str
    message: str
    advice: str = ""
    retry_after: int = 0
    hopeless: bool = False
    """As ``LimitReached`` has it."""


ToWorker = (
    Begin
    | ReplacePolicy
    | ReplaceKeys
    | ReplaceRevocations
    | ReplaceReadiness
    | SpoolChanged
    | ForgetCredentials
    | RecallSlices
    | Drain
    | CredentialGiven
    | SliceGranted
    | PriceGiven
    | ObjectGiven
    | AnswerGiven
    | LeaseGiven
    | Failed
)


# --- worker to coordinator ---------------------------------------------------------------------


class Serving(_Message, frozen=True, array_like=True, tag=True):
    """The worker takes connections."""


class Drained(_Message, frozen=True, array_like=True, tag=True):
    """Nothing runs any more; everything that was to be reported has been sent before this."""


class RevocationsInForce(_Message, frozen=True, array_like=True, tag=True):
    """``ReplaceRevocations`` with this order is in force."""

    order: int


class CredentialWanted(_Message, frozen=True, array_like=True, tag=True):
    """Ask for a secret not older than ``fetched_after`` (microseconds UTC)."""

    request: int
    credential: Credential
    """As the worker's policy has it: it decided by this where the secret goes."""
    fetched_after: int = 0
    ahead: bool = False
    """The worker's secret is still good; a failure is no error and nobody waits."""


class CredentialEchoed(_Message, frozen=True, array_like=True, tag=True):
    """A provider's answer contained the credential and was cut off."""

    credential_id: str
    request_id: str


class SliceWanted(_Message, frozen=True, array_like=True, tag=True):
    """Ask the ledger for at least these amounts; all or nothing.

    With ``ahead`` the worker still has enough for now: a refusal is no error and nobody waits.
    """

    request: int
    demands: tuple[Demand, ...]
    ahead: bool = False


class SliceUse(msgspec.Struct, frozen=True, array_like=True):
    """What became of a part of a slice since the last report."""

    key: LimitKey
    used: int
    returned: int


class SliceReport(_Message, frozen=True, array_like=True, tag=True):
    """Uses and returns of slices. ``order`` answers a recall; 0 otherwise."""

    uses: tuple[SliceUse, ...]
    order: int = 0


class PriceWanted(_Message, frozen=True, array_like=True, tag=True):
    """Ask for the price of a model."""

    request: int
    provider: str
    model: str


class ObjectRemembered(_Message, frozen=True, array_like=True, tag=True):
    """Store who created an object."""

    request: int
    owned: OwnedObject


class ObjectWanted(_Message, frozen=True, array_like=True, tag=True):
    """Ask who created an object."""

    request: int
    object_id: str


class BatchEnded(_Message, frozen=True, array_like=True, tag=True):
    """What a batch really cost."""

    request: int
    batch_id: str
    micro_usd: int


class TokenExchangeWanted(_Message, frozen=True, array_like=True, tag=True):
    """``POST /oauth/token``. Holds a subject token, so its ``repr`` shows nothing of it."""

    request: int
    form: bytes
    content_type: str
    dpop: str
    peer: str
    certificate: str = ""

    def __repr__(self) -> str:
        return f"TokenExchangeWanted(request={self.request}, form={STARS})"


class StaticKeyWanted(_Message, frozen=True, array_like=True, tag=True):
    """Ask for the lease of an API key. Holds the key, so its ``repr`` shows nothing of it."""

    request: int
    key: bytes
    peer: str

    def __repr__(self) -> str:
        return f"StaticKeyWanted(request={self.request}, key={STARS})"


class CallCount(msgspec.Struct, frozen=True, array_like=True):
    """Calls with the same labels since the last report. Times in microseconds."""

    provider: str
    model: str
    """Empty unless the policy routes a model of that name: callers choose names, labels are few."""
    status: int
    calls: int
    duration: int
    duration_buckets: tuple[int, ...]
    """Calls per bucket of ``call_counts.BUCKETS``, and those above the last."""
    first_chunk: int
    first_chunk_buckets: tuple[int, ...]
    first_chunks: int
    """Calls whose answer had a first chunk."""
    input_tokens: int
    output_tokens: int
    cost: int
    """Micro-USD."""
    retries: int
    limited: int


class CallCounts(_Message, frozen=True, array_like=True, tag=True):
    """What this worker did since its last report."""

    counts: tuple[CallCount, ...]


class Problem(_Message, frozen=True, array_like=True, tag=True):
    """A defect in the worker: the class of the exception and where it was raised, nothing more."""

    error: str
    place: str


ToCoordinator = (
    Serving
    | Drained
    | RevocationsInForce
    | CredentialWanted
    | CredentialEchoed
    | SliceWanted
    | SliceReport
    | PriceWanted
    | ObjectRemembered
    | ObjectWanted
    | BatchEnded
    | TokenExchangeWanted
    | StaticKeyWanted
    | CallCounts
    | Problem
)
Question = (
    CredentialWanted
    | SliceWanted
    | PriceWanted
    | ObjectRemembered
    | ObjectWanted
    | BatchEnded
    | TokenExchangeWanted
    | StaticKeyWanted
)
"""What is answered with ``Given`` or ``Failed``."""
Given = CredentialGiven | SliceGranted | PriceGiven | ObjectGiven | AnswerGiven | LeaseGiven


# --- errors ------------------------------------------------------------------------------------


def describe(request: int, error: KeyleaseError) -> Failed:
    """One of our errors as a message."""
    return Failed(
        request=request,
        code=error.code,
        message=error.message,
        advice=error.advice,
        retry_after=error.retry_after if isinstance(error, LimitReached) else 0,
        hopeless=isinstance(error, LimitReached) and error.hopeless,
    )


def rebuild(failed: Failed) -> KeyleaseError:
    """The error on the other side: of the same class, with nothing but its safe parts."""
    if failed.code == LimitReached.code:
        return LimitReached(
            failed.message,
            retry_after=failed.retry_after,
            advice=failed.advice,
            hopeless=failed.hopeless,
        )
    pending: list[type[KeyleaseError]] = [KeyleaseError]
    while pending:
        kind = pending.pop()
        if kind.code == failed.code and kind is not TokenExchangeRefused:
            return kind(failed.message, advice=failed.advice)
        pending += kind.__subclasses__()
    return StorageError(failed.message, advice=failed.advice)
