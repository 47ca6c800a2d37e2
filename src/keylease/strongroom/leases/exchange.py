"""``POST /oauth/token``: a subject token becomes a lease, a lease a trace token (RFC 8693).

Protects: no lease and no trace token leaves before its audit entry is durable, and none when that
    fails; refusals are audited too, one by one up to a rate and then counted (``refusal_limits``).
    Answers say what a caller may know and are never cached.
Does not protect: the subject token on its way here; that is TLS's work.
Limits: actor tokens (delegation) are not supported.

Beside the parameters of RFC 8693 four of our own are read: ``purpose``, ``environment``,
``models`` (separated by spaces) and ``requested_lifetime`` (seconds). A client that cannot send
them says the same in ``scope``: ``purpose:eval environment:ci model:gpt-*``. A request for a trace
token has no choice but its lifetime.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.contracts.leases import Confirmation
from keylease.contracts.policy import PolicyBundle
from keylease.contracts.trace_tokens import TraceTokenAnswer
from keylease.errors import (
    AccessDenied,
    GatewayNotLinked,
    KeyleaseError,
    LeaseRefused,
    LimitReached,
    RequestMalformed,
    SenderNotProven,
    StorageError,
    TokenExchangeRefused,
)
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.strongroom.configuration import StaticKeyUse
from keylease.strongroom.gateway.interfaces import HttpAnswer
from keylease.strongroom.leases.api_keys import ApiKeySubjects
from keylease.strongroom.leases.exchange_form import (
    ISSUED_TOKEN_TYPE,
    ExchangeForm,
    TraceTokenForm,
    read_form,
    scope_of,
)
from keylease.strongroom.leases.issue import (
    IssuedLease,
    LeaseIssuer,
    LeaseRequest,
    require_policy,
)
from keylease.strongroom.leases.refusal_limits import RefusalLimits
from keylease.strongroom.leases.replay import ReplayCache
from keylease.strongroom.leases.sender_proof import SenderProof
from keylease.strongroom.leases.trace_tokens import TraceTokenIssuer
from keylease.strongroom.leases.trust import AdmittedSubject, SubjectVerifier

_HEADERS: Final = (
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("pragma", "no-cache"),
)
_RETRY_SECONDS: Final = "5"
_UNAVAILABLE: Final = 503


class LeaseAudit(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange wants written down before it answers."""

    action: AuditAction
    principal: str = ""
    object: str = ""
    """The lease id, or the trust rule's when nothing was issued."""
    reason: str = ""
    details: dict[str, str] = msgspec.field(default_factory=dict)


Audit = Callable[[LeaseAudit], Awaitable[None]]


class TokenExchange:
    """Serves the token endpoint. One per coordinator."""

    def __init__(  # noqa: PLR0913 -- its collaborators; each is one step of the exchange
        self,
        *,
        subjects: SubjectVerifier,
        replay: ReplayCache,
        issuer: LeaseIssuer,
        proofs: SenderProof,
        policy: Callable[[], PolicyBundle],
        audit: Audit,
        endpoint_urls: tuple[str, ...],
        clock: Clock,
        trace_tokens: TraceTokenIssuer | None = None,
    ) -> None:
        """``audit`` returns when the entry is durable, or raises.

        ``trace_tokens`` may be ``None`` for a gateway that has no platform.

        ``endpoint_urls`` are the addresses of the token endpoint as clients know them: a DPoP
        proof is made for one of them, and ``resource`` may name one.
        """
        self._subjects = subjects
        self._replay = replay
        self._issuer = issuer
        self._proofs = proofs
        self._policy = policy
        self._audit = audit
        self._endpoint_urls = endpoint_urls
        self._clock = clock
        self._trace_tokens = trace_tokens
        self._limits = RefusalLimits(clock)
        self._api_keys = ApiKeySubjects(clock=clock)

    async def exchange(
        self, *, form: bytes, content_type: str, dpop: str, peer: str, certificate: str = ""
    ) -> HttpAnswer:
        """Answer one request; never raises a ``KeyleaseError``.

        ``dpop`` is the value of the only ``DPoP`` header or empty; ``peer`` is for the audit;
        ``certificate`` is the thumbprint of the TLS certificate that the client showed, or empty.
        """
        refused = AuditAction.LEASE_REFUSED
        try:
            await self.write_counted()
            try:
                self._limits.begin(peer)
                # 1. The form, and whether it asks for anything we have.
                asked = read_form(form, content_type, own_urls=self._endpoint_urls)
                if isinstance(asked, TraceTokenForm):
                    refused = AuditAction.TRACE_TOKEN_REFUSED
                    answer = await self._trace_token(asked, dpop, peer, certificate)
                else:
                    answer = await self._exchange(asked, dpop, peer, certificate)
                self._limits.succeeded(peer)
            except LimitReached as error:
                return _limited(error)
            except KeyleaseError as error:
                if isinstance(error, StorageError):
                    raise
                await self._write_refusal(error, peer, refused)
                return _refusal(error)
            else:
                return answer
        except KeyleaseError as error:
            return _unavailable(error)

    async def _write_refusal(
        self, error: KeyleaseError, peer: str, action: AuditAction = AuditAction.LEASE_REFUSED
    ) -> None:
        if self._limits.may_be_written():
            await self._audit(
                LeaseAudit(
                    action=action,
                    reason=error.code,
                    details={"peer": peer, "message": error.message},
                )
            )

    async def write_counted(self, *, at_once: bool = False) -> None:
        """Write down how many refusals have no entry of their own: once a minute, and at the end.

        Raises ``StorageError``; they are written the next time then.
        """
        counted = self._limits.take_counted(at_once=at_once)
        if counted is None:
            return
        entry = LeaseAudit(
            action=AuditAction.LEASE_REFUSALS_COUNTED,
            details={
                "refused": str(counted.refused),
                "limited": str(counted.limited),
                "seconds": str(counted.seconds),
            },
        )
        try:
            await self._audit(entry)
        except StorageError:
            self._limits.put_back(counted)
            raise

    async def _exchange(
        self, asked: ExchangeForm, dpop: str, peer: str, certificate: str
    ) -> HttpAnswer:
        # 2. The sender's key, if the lease shall be bound to one.
        sender = Confirmation(jkt=self._proven_key(dpop) if dpop else "", x5t=certificate)
        # 3. Who is it, and by which rules?
        bundle = self._policy()
        require_policy(bundle)
        if asked.is_api_key:
            subjects = [self._api_keys.admit(asked.subject_token.decode(), bundle)]
        else:
            subjects = await self._subjects.verify(asked.subject_token, bundle.trust_rules)
        return self._success(await self._admitted(subjects, asked, sender, bundle, peer))

    async def _trace_token(
        self, asked: TraceTokenForm, dpop: str, peer: str, certificate: str
    ) -> HttpAnswer:
        if self._trace_tokens is None:
            raise GatewayNotLinked
        issued = await self._trace_tokens.issue(
            asked.lease,
            lifetime=asked.lifetime,
            proven=self._proven_key(dpop) if dpop else "",
            certificate=certificate,
            peer=peer,
        )
        claims = issued.claims
        # Written down first; the token does not leave otherwise.
        await self._audit(
            LeaseAudit(
                action=AuditAction.TRACE_TOKEN_ISSUED,
                principal=claims.sub,
                object=claims.jti,
                details={"peer": peer, "lease": claims.lease, "expires_at": str(claims.exp)},
            )
        )
        answer = TraceTokenAnswer(
            access_token=issued.token,
            issued_token_type=ISSUED_TOKEN_TYPE,
            expires_in=max(0, claims.exp - self._clock.now() // MICROSECONDS),
            ingest_url=issued.ingest_url,
        )
        return HttpAnswer(status=200, headers=_HEADERS, body=msgspec.json.encode(answer))

    async def exchange_static(self, key: bytes, use: StaticKeyUse, *, peer: str) -> IssuedLease:
        """A lease for a client that sends an API key where a lease belongs.

        The same steps, limits and audit as for the token endpoint. Raises ``LeaseRefused``,
        ``AccessDenied``, ``LimitReached`` or ``StorageError``.
        """
        asked = ExchangeForm(
            subject_token=key,
            is_api_key=True,
            purpose=use.purpose,
            environment=use.environment,
            models=(),
            lifetime=None,
        )
        self._limits.begin(peer)
        try:
            bundle = self._policy()
            require_policy(bundle)
            subject = self._api_keys.admit(key.decode("latin-1"), bundle)
            lease = await self._admitted([subject], asked, Confirmation(), bundle, peer)
        except (TokenExchangeRefused, AccessDenied) as error:
            await self._write_refusal(error, peer)
            if isinstance(error, TokenExchangeRefused):
                raise LeaseRefused(error.message, advice=error.advice) from error
            raise
        self._limits.succeeded(peer)
        return lease

    async def _admitted(
        self,
        subjects: list[AdmittedSubject],
        asked: ExchangeForm,
        sender: Confirmation,
        bundle: PolicyBundle,
        peer: str,
    ) -> IssuedLease:
        # 4. What may it have? The first rule that allows what is asked for decides.
        subject, lease = self._issue(subjects, asked, sender, bundle)
        # 5. Use the subject token up. Only now, so that a mistake in step 4 does not cost it.
        if subject.rule.subject_once:
            await self._replay.use(
                issuer=subject.issuer, jti=subject.jti, expires_at=subject.expires_at
            )
        # 6. Write it down; the lease does not leave otherwise.
        claims = lease.claims
        await self._audit(
            LeaseAudit(
                action=AuditAction.LEASE_ISSUED,
                principal=claims.sub,
                object=claims.jti,
                details={
                    "peer": peer,
                    "rule": subject.rule.id,
                    "issuer": subject.issuer,
                    "purpose": claims.purpose,
                    "environment": claims.environment,
                    "expires_at": str(claims.exp),
                    "sender_bound": "true" if claims.cnf is not None else "false",
                },
            )
        )
        return lease

    def _proven_key(self, dpop: str) -> str:
        for url in self._endpoint_urls:
            with contextlib.suppress(SenderNotProven):  # it may be for the next one
                return self._proofs.thumbprint(dpop, method="POST", url=url)
        raise TokenExchangeRefused(
            "The DPoP proof is malformed, out of time, used before, or not for this endpoint.",
            oauth_error="invalid_dpop_proof",
            advice=f"Make a fresh one for POST and {' or '.join(self._endpoint_urls)}.",
        )

    def _issue(
        self,
        subjects: list[AdmittedSubject],
        asked: ExchangeForm,
        sender: Confirmation,
        bundle: PolicyBundle,
    ) -> tuple[AdmittedSubject, IssuedLease]:
        refusals: list[AccessDenied] = []
        for subject in subjects:
            request = LeaseRequest(
                principal=subject.principal,
                purpose=asked.purpose,
                environment=asked.environment,
                models=asked.models,
                lifetime=asked.lifetime,
                jkt=sender.jkt,
                x5t=sender.x5t,
                project=subject.project,
                rule=subject.rule,
                not_after=subject.expires_at,
            )
            try:
                return subject, self._issuer.issue(request, bundle)
            except AccessDenied as error:
                refusals.append(error)
        raise refusals[0]

    def _success(self, lease: IssuedLease) -> HttpAnswer:
        claims = lease.claims
        body: dict[str, object] = {
            "access_token": lease.token,
            "issued_token_type": ISSUED_TOKEN_TYPE,
            "token_type": "DPoP" if claims.cnf is not None and claims.cnf.jkt else "Bearer",
            "expires_in": max(0, claims.exp - self._clock.now() // MICROSECONDS),
            "scope": scope_of(claims),
        }
        if lease.shortened_by:
            body["lifetime_note"] = lease.shortened_by
        return HttpAnswer(status=200, headers=_HEADERS, body=msgspec.json.encode(body))


def _refusal(error: KeyleaseError) -> HttpAnswer:
    """RFC 6749 section 5.2."""
    match error:
        case TokenExchangeRefused():
            oauth_error = error.oauth_error
        case AccessDenied():
            oauth_error = "invalid_scope"
        case RequestMalformed() | LeaseRefused():
            oauth_error = "invalid_request"
        case _:
            return _unavailable(error)
    if error.http_status == _UNAVAILABLE:
        return _unavailable(error)
    return HttpAnswer(status=400, headers=_HEADERS, body=_error_body(oauth_error, error))


def _unavailable(error: KeyleaseError) -> HttpAnswer:
    """We failed, and therefore issued nothing."""
    return HttpAnswer(
        status=_UNAVAILABLE,
        headers=(*_HEADERS, ("retry-after", _RETRY_SECONDS)),
        body=_error_body("temporarily_unavailable", error),
    )


def _limited(error: LimitReached) -> HttpAnswer:
    return HttpAnswer(
        status=error.http_status,
        headers=(*_HEADERS, ("retry-after", str(error.retry_after))),
        body=_error_body("temporarily_unavailable", error),
    )


def _error_body(oauth_error: str, error: KeyleaseError) -> bytes:
    # error_description: %x20-21 / %x23-5B / %x5D-7E, RFC 6749 section 5.2.
    description = "".join(
        character if " " <= character <= "~" and character not in '"\\' else "?"
        for character in str(error)
    )
    return msgspec.json.encode(
        {"error": oauth_error, "error_description": description, "code": error.code}
    )
