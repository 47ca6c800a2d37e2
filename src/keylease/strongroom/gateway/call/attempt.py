"""One attempt at a call: what the upstream answers, and what of it the client gets.

Protects: the credential never passes back; redirects, 401 and 403 bodies and encoded answers never
    pass at all; an answer that breaks off reaches the client as a broken connection and not as an
    end.
Limits: small answers of known length, and answers that name a new object or a URL of the provider,
    are held until they are whole, up to ``HELD_AT_MOST``; everything else passes piece by piece.
"""

from __future__ import annotations

from typing import Final, Protocol

from keylease.contracts.catalogue import WireFormat
from keylease.errors import (
    CredentialEchoed,
    EgressRefused,
    KeyleaseError,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from keylease.primitives.http1.interfaces import (
    Responder,
    ResponseHead,
    ResponseReceiver,
    UpstreamFailure,
    UpstreamRequest,
)
from keylease.strongroom.gateway.call.accounting import Account
from keylease.strongroom.gateway.call.answer_links import with_own_links
from keylease.strongroom.gateway.call.answers import AnswerFields
from keylease.strongroom.gateway.call.credentials import Authentication
from keylease.strongroom.gateway.call.echo_guard import EchoGuard
from keylease.strongroom.gateway.call.objects import StreamedNames, named_in
from keylease.strongroom.gateway.metering import meters
from keylease.strongroom.gateway.metering.meters import MeteredAnswer, StreamFilter, UsageMeter

HELD_WHOLE: Final = 64 * 1024
"""Answers of known length up to this many bytes are sent in one piece."""
HELD_AT_MOST: Final = 64 * 1024 * 1024
"""Bytes of an answer that names a new object; a longer one is taken for broken."""
_DISCARDED: Final = 64 * 1024
_DOUBT: Final = "Whether the provider carried it out, and billed it, is not known."


class AttemptOwner(Protocol):
    """The exchange that an attempt belongs to."""

    __slots__ = ()

    responder: Responder
    account: Account

    def fail(self, error: KeyleaseError, *, in_doubt: bool, final: bool = False) -> None:
        """There is no (whole) answer. ``final``: the caller's SDK must not try again."""
        ...

    def not_sent(self, failure: UpstreamFailure) -> None:
        """Nothing was sent: another target may be tried."""
        ...

    def upstream_slow(self, *, slow: bool) -> None:
        """Whether the upstream takes the request's body more slowly than it comes."""
        ...

    def long_answer(self) -> None:
        """The answer passes piece by piece; the request is not needed any more."""
        ...

    def credential_refused(self, attempt: Attempt) -> None:
        """The provider answered 401; the attempt is over."""
        ...

    def answered(self, attempt: Attempt) -> None:
        """The answer is whole and may be finished."""
        ...

    def echoed(self, attempt: Attempt, error: CredentialEchoed) -> None:
        """The answer contained the credential; nothing of it may pass any more."""
        ...


class Attempt(ResponseReceiver):
    """Receives one upstream answer. Every call after ``over`` is ignored."""

    __slots__ = (
        "_answer", "_capture", "_collect", "_fields", "_filter", "_guard", "_meter", "_names",
        "_owner", "_pieces", "_reads", "_unread", "authentication", "learned", "learns", "over",
        "request", "started", "status", "strip_usage", "wire_format",
    )  # fmt: skip

    def __init__(
        self,
        owner: AttemptOwner,
        authentication: Authentication,
        *,
        wire_format: WireFormat,
        learns: tuple[str, ...],
        strip_usage: bool,
    ) -> None:
        """Prepare for an answer.

        Args:
            owner: the exchange.
            authentication: what the request was authenticated with, and must not come back.
            wire_format: of the answer.
            learns: members of a good answer that name new objects.
            strip_usage: the caller did not ask for the usage chunk of a stream.
        """
        self._owner = owner
        self.authentication = authentication
        self.wire_format = wire_format
        self.learns = learns
        self.strip_usage = strip_usage
        self.request: UpstreamRequest | None = None
        self.over = False
        self.started = False
        """A part of the answer was sent to the client."""
        self.status = 0
        self.learned: tuple[str, ...] = ()
        self._guard = EchoGuard(authentication.needles)
        self._fields = b""
        """Field lines for the client."""
        self._collect = False
        self._pieces: list[bytes] = []
        self._meter: UsageMeter | None = None
        self._answer: MeteredAnswer | None = None
        self._filter: StreamFilter | None = None
        self._names: StreamedNames | None = None
        self._capture = False
        self._reads = False
        """There is a meter, or a record of texts, or names to be found."""
        self._unread: list[bytes] = []
        """What has passed and was not looked at for meters and records yet."""

    # --- the pool calls --------------------------------------------------------------------------

    def head_received(self, head: ResponseHead) -> None:
        """The answer begins."""
        if self.over:
            return
        status = self.status = head.status
        account = self._owner.account
        fields = AnswerFields.of(head)
        number = self.authentication.number
        if fields.without != number:
            try:
                self._guard.check(fields.rendered)
            except CredentialEchoed as error:
                self._drop()
                self._owner.echoed(self, error)
                return
            fields.without = number
        account.provider_request_id = fields.provider_request_id
        if status == 401:  # noqa: PLR2004 - RFC 9110
            self._discard(head)
            self._owner.credential_refused(self)
            return
        if (unusable := _unusable(status, fields, has_body=head.has_body)) is not None:
            self._discard(head)
            # A redirect or a denial cost nothing; an answer that we cannot read may have.
            self._owner.fail(unusable, in_doubt=_successful(status))
            return
        self._begin(head, fields)

    def _begin(self, head: ResponseHead, fields: AnswerFields) -> None:
        account = self._owner.account
        account.status = head.status
        streamed = account.streamed = fields.event_stream
        length = head.content_length
        successful = _successful(head.status)
        if successful:
            if account.operation.reports_usage:
                self._meter = meters.meter_for(
                    self.wire_format, account.operation.name, streamed=streamed
                )
            elif account.batch_reader is not None and head.status == 200:  # noqa: PLR2004 - RFC 9110: the whole
                self._meter = account.batch_reader
            self._capture = account.capture is not None
            if streamed and self.strip_usage:
                self._filter = StreamFilter(self.wire_format)
                length = None
            if self.learns and streamed:
                self._names = StreamedNames()
            self._reads = self._meter is not None or self._capture or self._names is not None
        else:
            self.learns = ()
        self._fields = fields.rendered
        self._collect = not streamed and (
            bool(self.learns)
            or not head.has_body
            or (length is not None and length <= HELD_WHOLE)
            or (account.operation.links and successful)
        )
        if not self._collect:
            self._owner.long_answer()
            self.started = True
            self._owner.responder.start(
                head.status, [], content_length=length, rendered=self._rendered()
            )

    def data_received(self, data: bytes) -> None:
        """A piece of the answer."""
        if self.over:
            return
        account = self._owner.account
        if not account.answer_bytes:
            account.first_chunk()
        account.answer_bytes += len(data)
        if self._reads:
            self._unread.append(data)
            if not self._collect and len(self._unread) == 1:
                self._owner.responder.afterwards(self._read)
        if self._filter is not None:
            data = self._filter.feed(data)
        try:
            data = self._guard.feed(data)
        except CredentialEchoed as error:
            self._drop()
            self._owner.echoed(self, error)
            return
        if not data:
            return
        if self._collect:
            self._hold(data)
        else:
            self._owner.responder.write(data)

    def _read(self) -> None:
        """What nobody waits for: behind the piece that passes, and not in front of it."""
        unread = self._unread
        if not unread:
            return
        self._unread = []
        capture = self._owner.account.capture if self._capture else None
        for data in unread:
            if self._meter is not None:
                self._meter.feed(data)
            if capture is not None:
                capture.feed(data)
            if self._names is not None:
                self._names.feed(data)

    def _hold(self, data: bytes) -> None:
        if self._owner.account.answer_bytes <= HELD_AT_MOST:
            self._pieces.append(data)
            return
        self._pieces = []
        self._drop()
        error = UpstreamBroken(f"The provider's answer is too long. {_DOUBT}")
        self._owner.fail(error, in_doubt=True, final=True)

    def response_complete(self) -> None:
        """The answer is whole."""
        if self.over:
            return
        self.over = True
        try:
            if self._filter is not None:
                tail = self._guard.feed(self._filter.finish()) + self._guard.finish()
            else:
                tail = self._guard.finish()
        except CredentialEchoed as error:
            self._owner.echoed(self, error)
            return
        if tail:
            if self._collect:
                self._pieces.append(tail)
            else:
                self._owner.responder.write(tail)
        if self.learns:
            self.learned = self._named()
        self._owner.answered(self)

    def failed(self, failure: UpstreamFailure) -> None:
        """There is no (more of the) answer."""
        if self.over:
            return
        self.over = True
        if not failure.sent and not self.started:
            self._owner.not_sent(failure)
            return
        # An error status that broke off in its body was not carried out.
        doubt = self.may_have_cost
        self._owner.fail(error_for(failure), in_doubt=doubt, final=doubt)

    def pause_writing(self) -> None:
        """The upstream takes the body more slowly than it comes."""
        if not self.over:
            self._owner.upstream_slow(slow=True)

    def resume_writing(self) -> None:
        """The upstream caught up."""
        if not self.over:
            self._owner.upstream_slow(slow=False)

    @property
    def may_have_cost(self) -> bool:
        """The provider did not say that it refused."""
        return self.status == 0 or _successful(self.status)

    # --- the owner calls -------------------------------------------------------------------------

    def deliver(self) -> None:
        """Send what is still to be sent, and end the answer."""
        responder = self._owner.responder
        if self._collect:
            pieces = self._pieces
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if self._owner.account.operation.links and _successful(self.status):
                body = with_own_links(body)
            responder.send(self.status, [], body, rendered=self._rendered())
        else:
            responder.finish()

    def metered(self) -> MeteredAnswer | None:
        """What the meter saw until this was asked first."""
        self._read()
        meter, self._meter = self._meter, None
        if meter is not None:
            self._answer = meter.finish()
        return self._answer

    def streamed_names(self) -> tuple[str, ...]:
        """Objects that a stream named so far."""
        self._read()
        return tuple(self._names.found) if self._names is not None else ()

    def cancel(self) -> None:
        """Give the attempt up."""
        if not self.over:
            self._drop()

    def _drop(self) -> None:
        self.over = True
        if self.request is not None:
            self.request.cancel()

    def _discard(self, head: ResponseHead) -> None:
        """Ignore the rest; a small one is read, so that the connection can be kept."""
        small = not head.has_body or (
            head.content_length is not None and head.content_length <= _DISCARDED
        )
        self.over = True
        if not small and self.request is not None:
            self.request.cancel()

    def _rendered(self) -> bytes:
        """The field lines, with our own identifier, which has no byte that could break out."""
        return b"x-request-id: %b\r\n%b" % (self._owner.account.request_id.encode(), self._fields)

    def _named(self) -> tuple[str, ...]:
        self._read()
        if self._names is not None:
            return tuple(self._names.found)
        return named_in(b"".join(self._pieces), self.learns)


def _successful(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - RFC 9110


def _unusable(status: int, fields: AnswerFields, *, has_body: bool) -> KeyleaseError | None:
    """Why an answer must not reach the client, if so."""
    if status == 403:  # noqa: PLR2004 - RFC 9110
        return UpstreamDenied(
            "The provider does not allow the gateway's credential to do this.",
            advice="The owner of the credential can widen its permissions at the provider.",
        )
    if status == 407:  # noqa: PLR2004 - RFC 9110
        return UpstreamBroken("A proxy stands between the gateway and the provider.")
    if 300 <= status < 400:  # noqa: PLR2004 - RFC 9110
        return UpstreamBroken("The provider answered with a redirect, which is never followed.")
    if fields.encoded and has_body:
        return UpstreamBroken("The provider sent an encoded answer although none was asked for.")
    return None


def error_for(failure: UpstreamFailure) -> KeyleaseError:
    """Our error for an upstream's failure. The failure's detail stays here."""
    doubt = f" {_DOUBT}" if failure.sent else ""
    match failure.kind:
        case "address":
            return EgressRefused(
                "The provider's host leads to an address that the gateway may not reach."
            )
        case "timeout":
            return UpstreamTimedOut(f"The provider did not answer in time.{doubt}")
        case "pool_full":
            return UpstreamUnreachable("Too many calls wait for this provider; try again.")
        case "tls":
            return UpstreamUnreachable("The provider's TLS certificate was not accepted.")
        case "connect":
            return UpstreamUnreachable("The provider cannot be reached; nothing was sent.")
        case _:
            return UpstreamBroken(f"The connection to the provider broke.{doubt}")
