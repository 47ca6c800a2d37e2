"""One call, from the head of its request to the end of its answer.

A state machine that is called back: by the server with the request, by ``Attempt`` with what the
upstream did. It reads and decides here; ``Dispatch`` sends what was decided.

Protects: every call ends in one answer and one record, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final

from keylease.contracts.leases import LeaseClaims
from keylease.errors import (
    AccessDenied,
    CallsNotAccepted,
    CredentialEchoed,
    KeyleaseError,
    StorageError,
)
from keylease.primitives.http1.interfaces import (
    RequestHandler,
    RequestHead,
    Responder,
    UpstreamFailure,
)
from keylease.strongroom.gateway.call import batch_settling, objects
from keylease.strongroom.gateway.call.accounting import CLIENT_GONE, Account
from keylease.strongroom.gateway.call.answers import JSON_TYPE, REQUEST_ID, send_error
from keylease.strongroom.gateway.call.attempt import Attempt, error_for
from keylease.strongroom.gateway.call.batch_files import (
    CheckedFile,
    check_file,
    choose_for_file,
)
from keylease.strongroom.gateway.call.batch_lines import BatchLines
from keylease.strongroom.gateway.call.bodies import JsonBody
from keylease.strongroom.gateway.call.call_environment import CallEnvironment
from keylease.strongroom.gateway.call.call_head import CallHead, too_large
from keylease.strongroom.gateway.call.choosing import Choice, choose
from keylease.strongroom.gateway.call.dispatch import Dispatch, DispatchOwner
from keylease.strongroom.gateway.call.forms import FormBody
from keylease.strongroom.gateway.call.model_lists import list_models, one_model
from keylease.strongroom.gateway.call.routing import CompiledPolicy, Decision
from keylease.strongroom.gateway.call.upload import Upload
from keylease.strongroom.gateway.call.upload_form import UploadForm
from keylease.strongroom.gateway.metering.meters import MeteredAnswer
from keylease.strongroom.gateway.providers.interfaces import BodyKind, ObjectRole

_NO_BODY: Final = BodyKind.NONE
_JSON: Final = BodyKind.JSON
_UPLOAD: Final = BodyKind.UPLOAD
_USES: Final = ObjectRole.USES
_LISTS: Final = ObjectRole.LISTS


class Exchange(RequestHandler, DispatchOwner):
    """Handles one request whose lease was verified."""

    __slots__ = (
        "_batch_file", "_body_bytes", "_dispatch", "_environment", "_form", "_head",
        "_lines", "_operation", "_pieces", "_surface", "_upload", "account", "done", "responder",
        "write_paused",
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
        self._upload = (
            Upload(responder, environment.kept_uploads) if operation.body is _UPLOAD else None
        )
        self._dispatch = Dispatch(environment, head=head, upload=self._upload)
        self._pieces: list[bytes] = []
        self._body_bytes = 0
        self._form: UploadForm | None = None
        self._lines: BatchLines | None = None
        self._batch_file: CheckedFile | None = None
        """What is known of an uploaded file, once all of its lines were checked."""
        self.write_paused = False
        self.done = False

    def begin(self, head: RequestHead) -> None:
        """Check what the head says about the body; an upload is decided at once."""
        try:
            self._head.check_body(head, self._environment.limits)
            if self._upload is not None:
                self._decide()
        except KeyleaseError as error:
            self._refuse(error)
        except Exception:
            self._refuse(_defect())
            raise

    # --- the server calls ------------------------------------------------------------------------

    def body_received(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self.done:
            return
        self._body_bytes += len(data)
        if self._body_bytes > self._head.limit:
            self._refuse(too_large(self._head.limit))
        elif self._upload is not None:
            self._pass_on(self._upload, data)
        elif self._operation.body is not _NO_BODY:
            self._pieces.append(data)

    def request_complete(self) -> None:
        """The request is whole."""
        if self.done:
            return
        try:
            if self._upload is not None:
                self._end_upload(self._upload)
            else:
                self._decide()
        except KeyleaseError as error:
            self._refuse(error)
        except Exception:
            self._refuse(_defect())
            raise

    def client_gone(self) -> None:
        """Nobody waits for the answer any more: the upstream is told to stop."""
        if self.done:
            return
        self.done = True
        attempt = self._dispatch.attempt
        answer = None
        if attempt is not None:
            attempt.cancel()
            answer = attempt.metered()
            names = attempt.streamed_names()
            if names:
                self.start(
                    batch_settling.remembering(self._environment, self.account, attempt, names),
                    "remember objects",
                )
        self.account.close(
            status=self.account.status or CLIENT_GONE,
            answer=answer,
            sent=attempt is not None,
            in_doubt=attempt is not None and attempt.may_have_cost,
            client_gone=True,
        )
        self._dispatch.let_go()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self.write_paused = True
        attempt = self._dispatch.attempt
        if attempt is not None and attempt.request is not None:
            attempt.request.pause_reading()

    def resume_writing(self) -> None:
        """The client caught up."""
        self.write_paused = False
        attempt = self._dispatch.attempt
        if attempt is not None and attempt.request is not None:
            attempt.request.resume_reading()

    # --- deciding --------------------------------------------------------------------------------

    def _decide(self) -> None:
        policy = self._environment.policy.current
        if policy is None:
            raise CallsNotAccepted("The gateway has no policy yet.", advice="Try again shortly.")
        account = self.account
        account.policy_version = policy.version
        operation = self._operation
        body = self._read_body()
        object_ids = self._named_objects(body)
        if operation.local:
            self._answer_models(policy)
            return
        if operation.any_model and isinstance(body, JsonBody):
            self.start(partial(self._decide_by_file, policy, body, object_ids), "look at a file")
            return
        try:
            chosen = choose(policy, account.claims, operation, body, self._surface.wire_format)
        except AccessDenied:
            # Whoever reads the records wants to know what was refused.
            account.model = "" if body is None else body.model or operation.default_model
            raise
        decision = self._decided(chosen, body)
        if self._upload is not None:
            self._read_form(self._head.content_type, policy)
        if operation.role is _LISTS:
            objects.require_listing(decision)
        if object_ids:
            self.start(partial(self._locate, decision, object_ids), "locate objects")
        else:
            self._dispatch.try_next_target(self)

    def _decided(self, chosen: Choice, body: JsonBody | FormBody | None) -> Decision:
        decision = self.account.decision = chosen.decision
        self.account.model = chosen.model
        self._dispatch.decided(decision, body)
        return decision

    async def _decide_by_file(
        self, policy: CompiledPolicy, body: JsonBody, object_ids: tuple[str, ...]
    ) -> None:
        """A batch whose requests are the lines of a file."""
        account = self.account
        wire_format = self._surface.wire_format
        chosen = await choose_for_file(
            self._environment.link, policy, account.claims, body, wire_format
        )
        if self.done:
            return
        decision = self._decided(chosen, body)
        account.batch_bound = chosen.batch_bound
        if chosen.only is not None:
            self._dispatch.restrict(chosen.only)
        await self._locate(decision, object_ids)

    def _read_body(self) -> JsonBody | FormBody | None:
        """Check the body; ``None`` where there is none, or none that is held."""
        kind = self._operation.body
        if kind is _NO_BODY or kind is _UPLOAD:
            return None
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        if kind is _JSON:
            return JsonBody(data)
        return FormBody(data, self._head.content_type)

    def _named_objects(self, body: JsonBody | FormBody | None) -> tuple[str, ...]:
        """The stored objects that the request names, in its path and in its body."""
        operation = self._operation
        named: tuple[str, ...] = ()
        if operation.role is _USES:
            named = (self._head.object_id,)
        if isinstance(body, JsonBody):
            if operation.stored_by_default and body.members.get("store") is False:
                self._dispatch.learning = ()
            found = body.objects(self._surface.references, items=operation.stored_by_default)
            if found:
                named += found
        return named

    async def _locate(self, decision: Decision, object_ids: tuple[str, ...]) -> None:
        located = await objects.locate(
            self._environment.link, self.account.claims, decision, object_ids
        )
        await batch_settling.look_on(
            self._environment, self.account, self._surface.wire_format, located.batch_charge
        )
        if self.done:
            return
        self._dispatch.restrict({target.credential.id for target in located.targets})
        if not located.own and self._operation.role is _USES:
            self._dispatch.learning = ()
        self._dispatch.try_next_target(self)

    # --- uploads ---------------------------------------------------------------------------------

    def _read_form(self, content_type: str, policy: CompiledPolicy) -> None:
        claims = self.account.claims
        surface = self._surface
        lines = self._lines = BatchLines(
            surface, lambda model: policy.decide(claims, model, surface.wire_format)
        )
        self._form = UploadForm(content_type, lines)

    def _pass_on(self, upload: Upload, data: bytes) -> None:
        """Send on what was looked at."""
        form = self._form
        if form is None:
            return
        try:
            upload.take(form.feed(data))
        except KeyleaseError as error:
            self._refuse(error)
        except Exception:
            self._refuse(_defect())
            raise

    def _end_upload(self, upload: Upload) -> None:
        """The provider gets the end of the form when nothing in it is in doubt."""
        form = self._form
        lines = self._lines
        if form is None or lines is None:
            return
        rest = form.finish()
        if form.is_batch:
            self.start(partial(self._check_lines, upload, lines, rest), "check a file")
        else:
            upload.take(rest)
            upload.end()

    async def _check_lines(self, upload: Upload, lines: BatchLines, rest: bytes) -> None:
        account = self.account
        link = self._environment.link
        checked = await check_file(link, account.claims, lines, account.target)
        if self.done:
            return
        self._dispatch.restrict(checked.credential_ids)
        self._batch_file = checked
        upload.take(rest)
        upload.end()

    def _answer_models(self, policy: CompiledPolicy) -> None:
        model = self._head.object_id
        if model:
            wire_format = self._surface.wire_format
            self._answer(one_model(policy, self.account.claims, wire_format, model))
        else:
            self.start(partial(self._list_models, policy), "list models")

    async def _list_models(self, policy: CompiledPolicy) -> None:
        body = await list_models(
            self._environment, policy, self.account.claims, self._surface.wire_format
        )
        if not self.done:
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        """What is answered here; nothing is sent for this call."""
        account = self.account
        self.done = True
        headers = [JSON_TYPE, (REQUEST_ID, account.request_id.encode())]
        self.responder.send(200, headers, body)
        account.close(status=200, sent=False)

    # --- the attempt calls -----------------------------------------------------------------------

    def not_sent(self, failure: UpstreamFailure) -> None:
        """Nothing was sent: the next target, if there is one."""
        if self.done:
            return
        if not self._dispatch.can_try_further:
            self.fail(error_for(failure), in_doubt=False)
            return
        self.account.release()
        self.account.retries += 1
        try:
            self._dispatch.try_next_target(self)
        except KeyleaseError as error:
            self._refuse(error)

    def upstream_slow(self, *, slow: bool) -> None:
        """An upload comes as fast as the upstream takes it; any other body is here already."""
        if self._upload is not None:
            self._upload.slow(slow=slow)

    def long_answer(self) -> None:
        """The answer passes piece by piece; what was sent need not be kept until its end."""
        self.responder.afterwards(self._forget_body)

    def _forget_body(self) -> None:
        self.account.forget_body()
        self._dispatch.forget_body()

    def credential_refused(self, attempt: Attempt) -> None:
        """A 401: the secret may have been rotated."""
        if self.done:
            return
        try:
            self._dispatch.refresh(self, attempt)
        except KeyleaseError as error:
            self._refuse(error)

    def answered(self, attempt: Attempt) -> None:
        """The answer is whole: remember what it made, then end it."""
        if self.done:
            return
        if attempt.learned or self.account.batch_reader is not None:
            self.start(partial(self._remember, attempt), "remember objects")
        else:
            self._finish(attempt)

    async def _remember(self, attempt: Attempt) -> None:
        try:
            await batch_settling.remember(
                self._environment, self.account, attempt, self._batch_file
            )
        except StorageError as error:
            if not self.done:
                self.fail(error, in_doubt=True, final=True)
            return
        if not self.done:
            self._finish(attempt)

    def _finish(self, attempt: Attempt) -> None:
        self.done = True
        try:
            attempt.deliver()
        finally:
            self.responder.afterwards(self._settle)

    def _settle(self) -> None:
        """Count and record what the client has by now."""
        attempt = self._dispatch.attempt
        if attempt is not None:
            self.account.close(
                status=attempt.status,
                answer=attempt.metered(),
                sent=True,
                in_doubt=attempt.may_have_cost,
            )
        self._dispatch.let_go()

    def echoed(self, attempt: Attempt, error: CredentialEchoed) -> None:
        """Cut the answer off and report it."""
        target = self.account.target
        if target is not None:
            self._environment.link.credential_echoed(target.credential.id, self.account.request_id)
        self._fail(error, answer=attempt.metered(), in_doubt=True, final=True)

    def fail(self, error: KeyleaseError, *, in_doubt: bool, final: bool = False) -> None:
        """There is no (whole) answer."""
        answer = self._dispatch.attempt.metered() if self._dispatch.attempt is not None else None
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
        if self.done:
            return
        self.done = True
        attempt = self._dispatch.attempt
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
        self._dispatch.let_go()

    def start(self, work: Callable[[], Coroutine[object, object, None]], name: str) -> None:
        """Do something that waits; an upload waits with it."""
        if self._upload is not None:
            self._upload.wait()
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
