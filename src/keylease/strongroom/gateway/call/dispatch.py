"""Sends one decided call: to the first target that can take it, with everything set aside.

On the fast path everything from the decision to the request's bytes on the upstream connection
happens in one call; a task is made only when something has to be asked of the coordinator.

Protects: nothing is sent that was not decided, after a lease or a credential was taken back, or
    before its limits are reserved; nothing is sent twice, except once after a 401 and where a
    connection failed before anything left.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Protocol

from keylease.contracts.leases import LeaseClaims
from keylease.errors import (
    LeaseExpired,
    LeaseRevoked,
    LimitReached,
    ModelNotAllowed,
    StoreError,
    UploadNotRepeated,
    UpstreamRefusedCredential,
)
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.gateway.call.accounting import Account
from keylease.strongroom.gateway.call.attempt import Attempt, AttemptOwner
from keylease.strongroom.gateway.call.bodies import JsonBody
from keylease.strongroom.gateway.call.call_environment import CallEnvironment
from keylease.strongroom.gateway.call.call_head import CallHead
from keylease.strongroom.gateway.call.credentials import Authentication
from keylease.strongroom.gateway.call.forms import FormBody
from keylease.strongroom.gateway.call.outgoing import render
from keylease.strongroom.gateway.call.routing import Decision, ResolvedTarget
from keylease.strongroom.gateway.call.upload import Upload
from keylease.strongroom.gateway.metering.content import ContentCapture


class DispatchOwner(AttemptOwner, Protocol):
    """The exchange whose call is sent."""

    __slots__ = ()

    done: bool
    """The call has ended; nothing more is sent."""
    write_paused: bool
    """The client reads slowly, so nothing is read of an answer."""

    def start(self, work: Callable[[], Coroutine[object, object, None]], name: str) -> None:
        """Do something that waits; what it raises ends the call."""
        ...


class Dispatch:
    """The targets of one call, and the attempt at one of them.

    Its owner comes with each question and is not kept: that would be a circle of references.
    """

    __slots__ = (
        "_body", "_capture", "_environment", "_head", "_next_target", "_passed_on", "_refreshed",
        "_targets", "_upload", "attempt", "learning",
    )  # fmt: skip

    def __init__(
        self, environment: CallEnvironment, *, head: CallHead, upload: Upload | None
    ) -> None:
        self._environment = environment
        self._head = head
        self._upload = upload
        self._body: JsonBody | FormBody | None = None
        self._passed_on = b""
        self._capture = False
        self._targets: tuple[ResolvedTarget, ...] = ()
        self._next_target = 0
        self._refreshed = False
        self.attempt: Attempt | None = None
        self.learning = head.operation.learns
        """Members of the answer that name objects which then belong to the caller."""

    def decided(self, decision: Decision, body: JsonBody | FormBody | None) -> None:
        """Take over what was decided; nothing is sent yet."""
        self._body = body
        self._capture = decision.capture
        head = self._head
        self._passed_on = (
            head.content_line
            + head.fields.passed_on
            + head.fields.rendered_idempotency_key(decision.claims.sub)
        )
        self._targets = decision.in_order(self._environment.uniform)

    def restrict(self, credential_ids: set[str]) -> None:
        """Leave out the targets of other credentials; those that were tried stay."""
        tried = self._next_target
        self._targets = self._targets[:tried] + tuple(
            t for t in self._targets[tried:] if t.credential.id in credential_ids
        )

    @property
    def can_try_further(self) -> bool:
        """There is a target that was not tried yet, and all of what it would be sent."""
        upload = self._upload
        return self._next_target < len(self._targets) and (upload is None or upload.repeatable)

    def forget_body(self) -> None:
        """What was sent is not needed any more."""
        self._body = None
        if self._upload is not None:
            self._upload.release()

    def let_go(self) -> None:
        """Undo the circle of references with the attempt, so that no collector has to find it."""
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.request = None
        if self._upload is not None:
            self._upload.release()

    # --- choosing, setting aside -----------------------------------------------------------------

    def try_next_target(self, owner: DispatchOwner) -> None:
        """Choose the next target, and send to it at once if everything is at hand."""
        account = owner.account
        if self._upload is not None:
            self._upload.stop()
        target = self._choose(account.claims)
        account.target = target
        account.upstream_model = (target.model or account.model) if account.model else ""
        environment = self._environment
        if account.operation.spends:
            self._expect(account, target)
            known, account.price = environment.prices.at_hand(
                target.provider.name, account.upstream_model
            )
            if not known:
                owner.start(partial(self._prepare, owner, target), "prepare a call")
                return
        demands = account.demands()
        if demands:
            hold = environment.link.try_reserve(demands)
            if hold is None:
                owner.start(partial(self._prepare, owner, target), "prepare a call")
                return
            account.hold(hold)
        authentication = environment.authentications.at_hand(
            target.credential, target.provider.wire_format
        )
        if authentication is None:
            owner.start(partial(self._prepare, owner, target), "prepare a call")
            return
        self._send(owner, target, authentication)

    def _choose(self, claims: LeaseClaims) -> ResolvedTarget:
        self._check_in_force(claims)
        revoked: LeaseRevoked | None = None
        while self._next_target < len(self._targets):
            target = self._targets[self._next_target]
            self._next_target += 1
            try:
                self._environment.revocations.check_credential(target.credential.id)
            except LeaseRevoked as error:
                revoked = error
                continue
            return target
        if revoked is not None:
            raise revoked
        raise ModelNotAllowed("No credential is left that could serve this call.")

    def _check_in_force(self, claims: LeaseClaims) -> None:
        """Raise ``LeaseRefused`` when the lease has ended since its head was admitted.

        Only what is sent counts: a body that trickles in, or a wait, keeps no lease alive.
        """
        self._environment.revocations.check(claims)
        if claims.exp * MICROSECONDS <= self._environment.clock.now():
            raise LeaseExpired("The lease expired before the request was whole.")

    def _expect(self, account: Account, target: ResolvedTarget) -> None:
        """Tell the account what the call may use, and what of its text is recorded."""
        body = self._body
        if isinstance(body, JsonBody):
            account.expects(body.data, body.members, body.names)
            if self._capture and account.capture is None:
                account.capture = ContentCapture(
                    target.provider.wire_format, streamed=body.streamed
                )
                account.capture.request(body.data)
        elif body is not None:
            account.expects(body.data, {"n": body.choices})

    async def _prepare(self, owner: DispatchOwner, target: ResolvedTarget) -> None:
        """What ``try_next_target`` does, with waiting."""
        account = owner.account
        environment = self._environment
        if account.operation.spends and account.price is None:
            account.price = await environment.prices.ask(
                target.provider.name, account.upstream_model
            )
            if owner.done:
                return
        if not account.held:
            demands = account.demands()
            if demands:
                try:
                    hold = await environment.link.reserve(demands)
                except LimitReached as error:
                    raise account.explained(error) from error
                account.hold(hold)
                if owner.done:
                    return
        authentication = await environment.authentications.fetch(
            target.credential, target.provider.wire_format
        )
        if not owner.done:
            self._check_after_waiting(account.claims, target)
            self._send(owner, target, authentication)

    # --- sending ---------------------------------------------------------------------------------

    def _check_after_waiting(self, claims: LeaseClaims, target: ResolvedTarget) -> None:
        """What was revoked in the meantime is not used any more."""
        self._check_in_force(claims)
        self._environment.revocations.check_credential(target.credential.id)

    def _send(
        self, owner: DispatchOwner, target: ResolvedTarget, authentication: Authentication
    ) -> None:
        account = owner.account
        head = self._head
        upload = self._upload
        account.credential_version = authentication.version
        account.secret = authentication.secret
        outgoing = render(head.operation, head.surface, self._body, account)
        attempt = self.attempt = Attempt(
            owner,
            authentication,
            wire_format=head.surface.wire_format,
            learns=self.learning,
            strip_usage=outgoing.strip_usage,
        )
        request = attempt.request = target.pool.request(
            method=head.operation.method,
            target=head.target(target.prefix),
            headers=authentication.header_lines + self._passed_on,
            receiver=attempt,
            body=outgoing.body,
            content_length=head.content_length if upload is not None else None,
        )
        if owner.write_paused:
            request.pause_reading()
        if upload is not None:
            upload.flow_into(request)

    # --- after a 401 -----------------------------------------------------------------------------

    def refresh(self, owner: DispatchOwner, attempt: Attempt) -> None:
        """Fetch the secret afresh, once, and send once more if all of the request is at hand."""
        if self._refreshed:
            raise _refused_credential("")
        self._refreshed = True
        attempt.request = None
        if self._upload is not None:
            self._upload.stop()
        owner.start(partial(self._refresh, owner, attempt.authentication), "refetch a credential")

    async def _refresh(self, owner: DispatchOwner, refused: Authentication) -> None:
        account = owner.account
        target = account.target
        if target is None:
            return
        fetch = partial(
            self._environment.authentications.fetch,
            target.credential,
            target.provider.wire_format,
        )
        began = account.started_at
        try:
            fresh = await fetch(fetched_after=refused.fetched.fetched_at + 1)
            if fresh.version == refused.version and fresh.fetched.fetched_at < began:
                # Another worker had it fetched in the meantime, but before this call began: that
                # says nothing about what the store has now.
                fresh = await fetch(fetched_after=began)
        except StoreError as error:
            raise _refused_credential(" A fresh one could not be fetched.") from error
        if owner.done:
            return
        if (
            fresh.version == refused.version
            and fresh.fetched.fetched_at <= refused.fetched.fetched_at
        ):
            raise _refused_credential("")
        if self._upload is not None and not self._upload.repeatable:
            raise UploadNotRepeated(
                "The provider refused the credential in the middle of an upload that is too long "
                "to be kept here. The credential was fetched again.",
                advice="Send the upload again.",
            )
        self._check_after_waiting(account.claims, target)
        account.retries += 1
        self._send(owner, target, fresh)


def _refused_credential(more: str) -> UpstreamRefusedCredential:
    return UpstreamRefusedCredential(
        f"The provider does not accept the gateway's credential.{more}",
        advice="The owner of the credential has to look at it; your lease is fine.",
    )
