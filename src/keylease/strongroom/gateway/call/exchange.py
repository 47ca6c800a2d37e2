"""One call, from the head of its request to the end of its answer.

A state machine that is called back: by the server with the request, by ``Attempt`` with what the
upstream did. On the fast path everything from the end of the request to its bytes on the upstream
connection happens in one call, without a task; a task is made only when something has to be asked
of the coordinator.

Protects: nothing is sent that was not decided; nothing is sent twice, except once after a 401 and
    where a connection failed before anything left; every call ends in one record.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial

from keylease.contracts.leases import LeaseClaims
from keylease.errors import (
    CallsNotAccepted,
    CredentialEchoed,
    KeyleaseError,
    LeaseExpired,
    LeaseRevoked,
    ModelNotAllowed,
    StorageError,
    StoreError,
    UpstreamRefusedCredential,
)
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.http1.interfaces import RequestHead, Responder, UpstreamFailure
from keylease.strongroom.gateway.call import objects
from keylease.strongroom.gateway.call.accounting import CLIENT_GONE, Account
from keylease.strongroom.gateway.call.answers import JSON_TYPE, REQUEST_ID, send_error
from keylease.strongroom.gateway.call.attempt import Attempt, error_for
from keylease.strongroom.gateway.call.bodies import FormBody, JsonBody
from keylease.strongroom.gateway.call.call_environment import CallEnvironment
from keylease.strongroom.gateway.call.call_head import CallHead, too_large
from keylease.strongroom.gateway.call.choosing import choose
from keylease.strongroom.gateway.call.credentials import Authentication
from keylease.strongroom.gateway.call.model_lists import answer_models
from keylease.strongroom.gateway.call.outgoing import render
from keylease.strongroom.gateway.call.routing import (
    CompiledPolicy,
    Decision,
    ResolvedTarget,
)
from keylease.strongroom.gateway.metering.content import ContentCapture
from keylease.strongroom.gateway.metering.meters import MeteredAnswer
from keylease.strongroom.gateway.providers.interfaces import BodyKind, ObjectRole


class Exchange:
    """Handles one request whose lease was verified."""

    __slots__ = (
        "_answer", "_attempt", "_authentication", "_body", "_body_bytes", "_decision", "_done",
        "_environment", "_head", "_learning", "_next_target", "_operation", "_passed_on", "_pieces",
        "_refreshed", "_surface", "_targets", "_upload", "_upload_ended", "_write_paused",
        "account", "responder",
    )  # fmt: skip

    def __init__(
        self,
        *,
        environment: CallEnvironment,
        head: CallHead,
        responder: Responder,
        claims: LeaseClaims,
        request_id: str,
    ) -> None:
        self._environment = environment
        self._head = head
        self._surface = head.surface
        operation = self._operation = head.operation
        self.responder = responder
        account = self.account = Account(
            link=environment.link,
            clock=environment.clock,
            claims=claims,
            operation=operation,
            request_id=request_id,
        )
        account.trace_id = head.fields.trace_id
        account.parent_span_id = head.fields.parent_span_id
        self._upload = operation.body is BodyKind.UPLOAD
        self._upload_ended = False
        self._pieces: list[bytes] = []
        self._body_bytes = 0
        self._body: JsonBody | FormBody | None = None
        self._passed_on = b""
        self._decision: Decision | None = None
        self._targets: tuple[ResolvedTarget, ...] = ()
        self._next_target = 0
        self._authentication: Authentication | None = None
        self._attempt: Attempt | None = None
        self._answer: MeteredAnswer | None = None
        self._learning = operation.learns
        self._refreshed = False
        self._write_paused = False
        self._done = False

    def begin(self, head: RequestHead) -> None:
        """Check what the head says about the body; an upload is decided at once."""
        try:
            self._head.check_body(head, self._environment.limits)
            if self._upload:
                self._decide()
        except KeyleaseError as error:
            self._refuse(error)
        except Exception:
            self._refuse(_defect())
            raise

    # --- the server calls ------------------------------------------------------------------------

    def body_received(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self._done:
            return
        self._body_bytes += len(data)
        if self._body_bytes > self._head.limit:
            self._refuse(too_large(self._head.limit))
        elif self._upload and self._attempt is not None and self._attempt.request is not None:
            self._attempt.request.write(data)
        elif self._operation.body is not BodyKind.NONE:
            self._pieces.append(data)

    def request_complete(self) -> None:
        """The request is whole."""
        if self._done:
            return
        if self._upload:
            self._upload_ended = True
            if self._attempt is not None and self._attempt.request is not None:
                self._attempt.request.finish()
            return
        try:
            self._decide()
        except KeyleaseError as error:
            self._refuse(error)
        except Exception:
            self._refuse(_defect())
            raise

    def client_gone(self) -> None:
        """Nobody waits for the answer any more: the upstream is told to stop."""
        if self._done:
            return
        self._done = True
        attempt = self._attempt
        answer = None
        if attempt is not None:
            attempt.cancel()
            answer = self._answer or attempt.metered()
            names = attempt.streamed_names()
            if names:
                self._start(lambda: self._remember_quietly(names), "remember objects")
        self.account.close(
            status=self.account.status or CLIENT_GONE,
            answer=answer,
            sent=attempt is not None,
            in_doubt=attempt is not None and attempt.may_have_cost,
            client_gone=True,
        )
        self._let_go()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self._write_paused = True
        if self._attempt is not None and self._attempt.request is not None:
            self._attempt.request.pause_reading()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._write_paused = False
        if self._attempt is not None and self._attempt.request is not None:
            self._attempt.request.resume_reading()

    # --- deciding --------------------------------------------------------------------------------

    def _decide(self) -> None:
        policy = self._environment.policy.current
        if policy is None:
            raise CallsNotAccepted(
                "The gateway has no policy in force and serves no calls.",
                advice="Its owner sees why with `keylease policy status`.",
            )
        self.account.policy_version = policy.version
        object_ids = self._read_body()
        operation = self._operation
        if operation.local:
            self._answer_models(policy)
            return
        chosen = choose(
            policy, self.account.claims, operation, self._body, self._surface.wire_format
        )
        decision = self._decision = self.account.decision = chosen.decision
        self.account.model = chosen.model
        self._passed_on = (
            self._head.content_line
            + self._head.fields.passed_on
            + self._head.fields.rendered_idempotency_key(decision.claims.sub)
        )
        self._targets = decision.in_order(self._environment.uniform)
        if operation.role is ObjectRole.LISTS:
            objects.require_listing(decision)
        if object_ids:
            self._start(lambda: self._locate(decision, object_ids), "locate objects")
        else:
            self._try_next_target()

    def _read_body(self) -> tuple[str, ...]:
        """Check the body; gives the stored objects that the request names."""
        named = (self._head.object_id,) if self._operation.role is ObjectRole.USES else ()
        kind = self._operation.body
        if kind is BodyKind.NONE or kind is BodyKind.UPLOAD:
            return named
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        if kind is BodyKind.JSON:
            body = self._body = JsonBody(data)
            if self._operation.stored_by_default and body.members.get("store") is False:
                self._learning = ()
            return named + body.objects(
                self._surface.references, items=self._operation.stored_by_default
            )
        self._body = FormBody(data, self._head.content_type)
        return named

    async def _locate(self, decision: Decision, object_ids: tuple[str, ...]) -> None:
        located = await objects.locate(
            self._environment.link, self.account.claims, decision, object_ids
        )
        if self._done:
            return
        held_by = {target.credential.id for target in located.targets}
        self._targets = tuple(t for t in self._targets if t.credential.id in held_by)
        if not located.own and self._operation.role is ObjectRole.USES:
            self._learning = ()
        self._try_next_target()

    def _answer_models(self, policy: CompiledPolicy) -> None:
        account = self.account
        body = answer_models(
            policy, account.claims, self._surface.wire_format, self._head.object_id
        )
        self._done = True
        headers = [JSON_TYPE, (REQUEST_ID, account.request_id.encode())]
        self.responder.send(200, headers, body)
        account.close(status=200, sent=False)

    # --- sending ---------------------------------------------------------------------------------

    def _try_next_target(self) -> None:
        """Choose the next target, and send to it at once if everything is at hand."""
        target = self._choose()
        account = self.account
        account.target = target
        account.upstream_model = (target.model or account.model) if account.model else ""
        environment = self._environment
        operation = self._operation
        if operation.spends:
            self._expect(target)
            known, account.price = environment.prices.at_hand(
                target.provider.name, account.upstream_model
            )
            if not known:
                self._start(lambda: self._prepare(target), "prepare a call")
                return
        demands = account.demands()
        if demands:
            hold = environment.link.try_reserve(demands)
            if hold is None:
                self._start(lambda: self._prepare(target), "prepare a call")
                return
            account.hold(hold)
        authentication = environment.authentications.at_hand(
            target.credential, target.provider.wire_format
        )
        if authentication is None:
            self._start(lambda: self._prepare(target), "prepare a call")
            return
        self._send(target, authentication)

    def _check_in_force(self) -> None:
        """Raise ``LeaseRefused`` when the lease has ended since its head was admitted.

        Only what is sent counts: a body that trickles in, or a wait, keeps no lease alive.
        """
        claims = self.account.claims
        self._environment.revocations.check(claims)
        if claims.exp * MICROSECONDS <= self._environment.clock.now():
            raise LeaseExpired("The lease expired before the request was whole.")

    def _choose(self) -> ResolvedTarget:
        self._check_in_force()
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

    def _expect(self, target: ResolvedTarget) -> None:
        """Tell the account what the call may use, and what of its text is recorded."""
        body = self._body
        account = self.account
        if isinstance(body, JsonBody):
            account.expects(body.data, body.members, body.names)
            if self._decision is not None and self._decision.capture and account.capture is None:
                account.capture = ContentCapture(
                    target.provider.wire_format, streamed=body.streamed
                )
                account.capture.request(body.data)
        elif body is not None:
            account.expects(body.data, {"n": body.choices})

    async def _prepare(self, target: ResolvedTarget) -> None:
        """What ``_try_next_target`` does, with waiting."""
        account = self.account
        environment = self._environment
        if self._operation.spends and account.price is None:
            account.price = await environment.prices.ask(
                target.provider.name, account.upstream_model
            )
            if self._done:
                return
        if not account.held:
            demands = account.demands()
            if demands:
                account.hold(await environment.link.reserve(demands))
                if self._done:
                    return
        authentication = await environment.authentications.fetch(
            target.credential, target.provider.wire_format
        )
        if not self._done:
            # What was revoked while we waited is not used any more.
            self._check_in_force()
            environment.revocations.check_credential(target.credential.id)
            self._send(target, authentication)

    def _send(self, target: ResolvedTarget, authentication: Authentication) -> None:
        self._authentication = authentication
        account = self.account
        account.credential_version = authentication.version
        account.secret = authentication.secret
        outgoing = render(self._operation, self._surface, self._body, account)
        attempt = self._attempt = Attempt(
            self,
            authentication,
            wire_format=self._surface.wire_format,
            learns=self._learning,
            strip_usage=outgoing.strip_usage,
        )
        attempt.request = target.pool.request(
            method=self._operation.method,
            target=self._head.target(target.prefix),
            headers=authentication.header_lines + self._passed_on,
            receiver=attempt,
            body=outgoing.body,
            content_length=self._head.content_length if self._upload else None,
        )
        if self._write_paused:
            attempt.request.pause_reading()
        if self._upload:
            self._flush(attempt)

    def _flush(self, attempt: Attempt) -> None:
        """Send what came of an upload before there was anybody to send it to."""
        request = attempt.request
        if request is None:
            return
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            request.write(piece)
        self.responder.resume_reading()
        if self._upload_ended:
            request.finish()

    # --- the attempt calls -----------------------------------------------------------------------

    def not_sent(self, failure: UpstreamFailure) -> None:
        """Nothing was sent: the next target, if there is one."""
        if self._done:
            return
        if self._upload or self._next_target >= len(self._targets):
            self.fail(error_for(failure), in_doubt=False)
            return
        self.account.release()
        self.account.retries += 1
        try:
            self._try_next_target()
        except KeyleaseError as error:
            self._refuse(error)

    def long_answer(self) -> None:
        """The answer passes piece by piece; what was sent need not be kept until its end."""
        self.account.forget_body()
        self._body = None

    def credential_refused(self, attempt: Attempt) -> None:
        """A 401: fetch the secret afresh, once, and send once more if that was an upload not."""
        if self._done:
            return
        if self._refreshed:
            self._refuse(_refused_credential(""))
            return
        self._refreshed = True
        attempt.request = None
        self._start(lambda: self._refresh(attempt.authentication), "refetch a credential")

    async def _refresh(self, refused: Authentication) -> None:
        target = self.account.target
        if target is None:
            return
        fetch = partial(
            self._environment.authentications.fetch,
            target.credential,
            target.provider.wire_format,
        )
        began = self.account.started_at
        try:
            fresh = await fetch(fetched_after=refused.fetched.fetched_at + 1)
            if fresh.version == refused.version and fresh.fetched.fetched_at < began:
                # Another worker had it fetched in the meantime, but before this call began: that
                # says nothing about what the store has now.
                fresh = await fetch(fetched_after=began)
        except StoreError as error:
            raise _refused_credential(" A fresh one could not be fetched.") from error
        if self._done:
            return
        if self._upload:
            raise _refused_credential(" It was fetched again; send the upload again.")
        if (
            fresh.version == refused.version
            and fresh.fetched.fetched_at <= refused.fetched.fetched_at
        ):
            raise _refused_credential("")
        self._check_in_force()
        self._environment.revocations.check_credential(target.credential.id)
        self.account.retries += 1
        self._send(target, fresh)

    def answered(self, attempt: Attempt, answer: MeteredAnswer | None) -> None:
        """The answer is whole: remember what it made, then end it."""
        if self._done:
            return
        self._answer = answer
        if attempt.learned:
            self._start(lambda: self._remember(attempt, answer), "remember objects")
        else:
            self._finish(attempt, answer)

    async def _remember(self, attempt: Attempt, answer: MeteredAnswer | None) -> None:
        target = self.account.target
        if target is None:
            return
        try:
            await objects.remember(
                self._environment.link,
                self.account.claims,
                target.credential.id,
                attempt.learned,
            )
        except StorageError as error:
            if not self._done:
                self._fail(error, answer=answer, in_doubt=True, final=True)
            return
        if not self._done:
            self._finish(attempt, answer)

    async def _remember_quietly(self, names: tuple[str, ...]) -> None:
        """The client left in the middle of a stream that had named its object already."""
        target = self.account.target
        if target is not None:
            await objects.remember(
                self._environment.link, self.account.claims, target.credential.id, names
            )

    def _finish(self, attempt: Attempt, answer: MeteredAnswer | None) -> None:
        self._done = True
        try:
            attempt.deliver()
        finally:
            self.account.close(
                status=attempt.status, answer=answer, sent=True, in_doubt=attempt.may_have_cost
            )
            self._let_go()

    def echoed(self, attempt: Attempt, error: CredentialEchoed) -> None:
        """Cut the answer off and report it."""
        target = self.account.target
        if target is not None:
            self._environment.link.credential_echoed(target.credential.id, self.account.request_id)
        self._fail(error, answer=attempt.metered(), in_doubt=True, final=True)

    def fail(self, error: KeyleaseError, *, in_doubt: bool, final: bool = False) -> None:
        """There is no (whole) answer."""
        answer = self._attempt.metered() if self._attempt is not None else None
        self._fail(error, answer=answer, in_doubt=in_doubt, final=final)

    # --- ends ------------------------------------------------------------------------------------

    def _refuse(self, error: KeyleaseError) -> None:
        """Answer with an error of ours; the provider did nothing."""
        self._fail(error, answer=None, in_doubt=False)

    def _fail(
        self,
        error: KeyleaseError,
        *,
        answer: MeteredAnswer | None,
        in_doubt: bool,
        final: bool = False,
    ) -> None:
        if self._done:
            return
        self._done = True
        attempt = self._attempt
        status = error.http_status
        if attempt is not None:
            attempt.cancel()
        if attempt is not None and attempt.started:
            status = attempt.status
            self.responder.abort()
        else:
            send_error(self.responder, self._surface, error, self.account.request_id, final=final)
        self.account.close(
            status=status,
            error=error,
            answer=answer,
            sent=attempt is not None and (in_doubt or attempt.status != 0),
            in_doubt=in_doubt,
        )
        self._let_go()

    def _let_go(self) -> None:
        """Undo the circles of references, so that no collector has to find them."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.request = None

    def _start(self, work: Callable[[], Coroutine[object, object, None]], name: str) -> None:
        if self._upload and not self._upload_ended:
            self.responder.pause_reading()
        self._environment.tasks.start(self._guarded(work), name=name)

    async def _guarded(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Nothing that happens in a task may leave the client without an answer."""
        try:
            await work()
        except KeyleaseError as error:
            self._refuse(error)
        except BaseException:
            self._refuse(_defect())
            raise


def _defect() -> KeyleaseError:
    return KeyleaseError("The gateway failed to serve this call.")


def _refused_credential(more: str) -> UpstreamRefusedCredential:
    return UpstreamRefusedCredential(
        f"The provider does not accept the gateway's credential.{more}",
        advice="The owner of the credential has to look at it; your lease is fine.",
    )
