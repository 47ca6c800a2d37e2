"""Gives secrets to workers, writes down every fetch, and knows the state of each credential.

Protects: no worker gets a secret before the fetch's audit entry is durable; a reference that no
    binding of gateway.toml covers is not even fetched.
Does not protect: where the secret goes afterwards; the worker decides that by the same bindings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.contracts.catalogue import CATALOGUE
from keylease.contracts.policy import Credential, PolicyBundle
from keylease.contracts.references import Reference
from keylease.errors import (
    BindingMissing,
    KeyleaseError,
    SecretNotFound,
    SecretTooOld,
    StoreError,
)
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.strongroom.bindings import Bindings
from keylease.strongroom.configuration import GatewayConfiguration, Origin, StoreSettings
from keylease.strongroom.gateway.call.upstreams import read_base_url
from keylease.strongroom.gateway.records.audit_spool import AuditSpool
from keylease.strongroom.stores.cache import CredentialCache, SecretSource, Signature
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.provider_keys import provider_key

_GRACE_STEP: Final = 2.0
"""Seconds for which a worker may use a secret that is past its age; then it asks again."""


class CredentialState(msgspec.Struct, frozen=True, kw_only=True):
    """How the last fetch of a credential went."""

    state: str
    """``unused``, ``available`` or ``failed``."""
    at: int = 0
    """Microseconds UTC; 0 when it was never fetched."""
    version: str = ""
    error: str = ""
    """Stable code."""


_UNUSED: Final = CredentialState(state="unused")


class GivenSecret(msgspec.Struct, frozen=True):
    """A secret and how long a worker may use it."""

    fetched: FetchedSecret
    usable_seconds: float


class BoundSecretSource(SecretSource, Protocol):
    """What ``stores.StoreRegistry`` is here."""

    async def require_recorded_binding(
        self, reference: Reference, *, provider: str, host: str
    ) -> None:
        """Raise ``BindingMissing`` when the secret was stored for another provider or host."""
        ...


class _ProviderKeys:
    """The stores, for what is sent to providers: anything else they give is a failed fetch.

    Looked at here, so that the state of a credential says it before a call finds out.
    """

    def __init__(self, source: SecretSource) -> None:
        self._source = source

    async def fetch(self, reference: Reference) -> FetchedSecret:
        fetched = await self._source.fetch(reference)
        provider_key(fetched.secret, why="see that it can be a provider key")
        return fetched

    async def signature(self, reference: Reference) -> Signature:
        return await self._source.signature(reference)


class CredentialDesk:
    """One per coordinator."""

    def __init__(
        self,
        source: BoundSecretSource,
        *,
        configuration: GatewayConfiguration,
        policy: Callable[[], PolicyBundle],
        audit: AuditSpool,
        clock: Clock,
        on_change: Callable[[], None],
        on_secret: Callable[[tuple[str, ...], FetchedSecret], None] | None = None,
    ) -> None:
        """``on_change`` is told when the state of a credential changed.

        ``on_secret`` is given what was really fetched, with the credentials that it is.
        """
        self._source = source
        self._settings: StoreSettings = configuration.stores
        self._bindings = Bindings(configuration.bindings)
        self._policy = policy
        self._audit = audit
        self._clock = clock
        self._on_change = on_change
        self._on_secret = on_secret
        self._states: dict[Reference, CredentialState] = {}
        self._cache = CredentialCache(
            _ProviderKeys(source),
            clock=clock,
            settings=configuration.stores,
            on_fetch=self._fetched,
        )

    async def give(
        self, credential_id: str, *, fetched_after: int = 0, known_as: Credential | None = None
    ) -> GivenSecret:
        """The secret of a credential of the policy in force.

        ``known_as`` is what the asker takes the credential for. Raises ``SecretNotFound`` when the
        policy in force says otherwise, another ``StoreError``, ``StorageError`` when the fetch
        cannot be written down, and ``BindingMissing``.
        """
        credential = self._credential(credential_id)
        if known_as is not None and known_as != credential:
            raise SecretNotFound(
                "The policy changed what the credential is while it was asked for.",
                advice="Try again.",
            )
        origin = self._require_binding(credential)
        reference = Reference.parse(credential.reference)
        try:
            await self._source.require_recorded_binding(
                reference, provider=credential.provider, host=origin.host
            )
        except StoreError as error:
            # The store is not asked again, but what it said is written down, once.
            if self._states.get(reference, _UNUSED).error != error.code:
                await self._fetched(reference, error)
            raise
        fetched = await self._cache.get(reference, fetched_after=fetched_after)
        age = (self._clock.now() - fetched.fetched_at) / MICROSECONDS
        usable = self._settings.maximum_age_seconds - max(0.0, age)
        if usable <= 0:  # given in grace, or at its very end: good for the call that asked
            usable = min(_GRACE_STEP, self._settings.grace_seconds)
        return GivenSecret(fetched, min(usable, self._time_left(credential, fetched.version)))

    def _time_left(self, credential: Credential, version: str) -> float:
        """Seconds for which the policy lets this version of the secret be used.

        Raises ``SecretTooOld`` when it does not any more.
        """
        ends = [aged.refuse_from for aged in credential.aged if aged.version == version]
        if not ends:
            return math.inf
        left = (min(ends) - self._clock.now()) / MICROSECONDS
        if left <= 0:
            raise SecretTooOld(
                "The credential's secret is older than the policy allows.",
                advice="Rotate it at the provider, and put the new one into its store.",
            )
        return left

    def _credential(self, credential_id: str) -> Credential:
        for credential in self._policy().credentials:
            if credential.id == credential_id:
                return credential
        raise SecretNotFound("The policy in force has no such credential.")

    def _require_binding(self, credential: Credential) -> Origin:
        """Where the credential goes, if a binding allows that for one of its purposes."""
        upstream = credential.upstream or CATALOGUE[credential.provider].base_url
        origin = read_base_url(upstream).origin
        refusal: BindingMissing | None = None
        for purpose in credential.purposes:
            try:
                self._bindings.decide(
                    reference=credential.reference,
                    provider=credential.provider,
                    origin=origin,
                    purpose=purpose,
                    environment=credential.environment,
                )
            except BindingMissing as error:
                refusal = error
            else:
                return origin
        raise refusal or BindingMissing("The credential has no purpose.")

    async def _fetched(self, reference: Reference, outcome: FetchedSecret | StoreError) -> None:
        """Write a real fetch down, before anybody gets what it gave."""
        credentials = [c for c in self._policy().credentials if c.reference == str(reference)]
        details = {"reference": str(reference)}
        now = self._clock.now()
        if isinstance(outcome, FetchedSecret):
            action, reason = AuditAction.CREDENTIAL_FETCHED, ""
            details["version"] = outcome.version
            state = CredentialState(state="available", at=now, version=outcome.version)
        else:
            action, reason = AuditAction.CREDENTIAL_FETCH_FAILED, outcome.code
            state = CredentialState(state="failed", at=now, error=outcome.code)
        before = self._states.get(reference, _UNUSED)
        self._states[reference] = state
        if (before.state, before.error) != (state.state, state.error):
            self._on_change()
        # The policy may have changed while the store was asked; what it gave is written down all
        # the same, as that of no credential.
        for subject in [credential.id for credential in credentials] or [""]:
            await self._audit.write(action, subject=subject, reason=reason, details=details)
        if self._on_secret is not None and isinstance(outcome, FetchedSecret):
            self._on_secret(tuple(credential.id for credential in credentials), outcome)

    def states(self) -> dict[str, CredentialState]:
        """State by credential id, for the credentials of the policy in force."""
        return {
            credential.id: self._states.get(Reference.parse(credential.reference), _UNUSED)
            for credential in self._policy().credentials
        }

    async def check(self, credential: Credential) -> dict[str, object]:
        """Whether a credential can be had now: for people, never with the bytes."""
        answer: dict[str, object] = {"id": credential.id, "name": credential.name}
        answer["reference"] = credential.reference
        try:
            given = await self.give(credential.id)
        except KeyleaseError as error:
            failure = {"code": error.code, "message": error.message, "advice": error.advice}
            return {**answer, "available": False, "error": failure}
        age = (self._clock.now() - given.fetched.fetched_at) / MICROSECONDS
        return {
            **answer,
            "available": True,
            "version": given.fetched.version,
            "age_seconds": round(max(0.0, age), 1),
        }

    async def changed(self) -> tuple[str, ...]:
        """Credentials whose store says that the secret is another one now."""
        references = {str(reference) for reference in await self._cache.changed()}
        return tuple(c.id for c in self._policy().credentials if c.reference in references)

    def weaknesses(self) -> tuple[str, ...]:
        """What there is to say about secrets in use past their age."""
        return self._cache.posture()

    async def close(self) -> None:
        """End what is under way and wipe what is held."""
        await self._cache.close()
