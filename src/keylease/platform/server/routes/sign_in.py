"""Signing in. Whoever calls these is nobody yet."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from keylease.platform.identity.sessions.schemas import SessionOut
from keylease.platform.identity.sessions.service import csrf_text
from keylease.platform.identity.sign_in.interfaces import Outcome
from keylease.platform.identity.sign_in.schemas import (
    ChallengeOut,
    CodeIn,
    InvitationAnswerIn,
    LinkIn,
    OfferedIssuerOut,
    OfferedIssuers,
    OutsideIn,
    OutsideOut,
    PasskeyIn,
    PasswordIn,
    SignInAnswer,
    SignInState,
)
from keylease.platform.identity.sign_in.service import Secret
from keylease.platform.identity.wire import OptionalIdentifier
from keylease.platform.server.cookies import (
    SET_UP,
    circumstances_of,
    from_own_page,
    known_browser,
    local_path,
    set_outcome,
    set_visit,
)
from keylease.platform.server.guard import address_of, open_to_all
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.services import identity_of

router = APIRouter(
    prefix="/v1/sign-in",
    tags=["sign-in"],
    dependencies=[from_own_page()],
    responses=problem_responses(400, 401, 403, 404, 413, 422, 429, 503),
)
Nobody = Annotated[None, open_to_all()]


@router.post("/password")
async def with_password(
    request: Request, response: Response, body: PasswordIn, _: Nobody
) -> SignInAnswer:
    """Sign in by password; the answer may ask for a code."""
    outcome = await identity_of(request).sign_in.with_password(
        email=body.email,
        password=Secret(body.password),
        organization_id=body.organization_id,
        circumstances=circumstances_of(request),
        known_browser=known_browser(request),
    )
    return answered(request, response, outcome, wanted=body.next)


@router.post("/code")
async def with_code(request: Request, response: Response, body: CodeIn, _: Nobody) -> SignInAnswer:
    """Finish with a one-time code, or with a recovery code."""
    outcome = await identity_of(request).sign_in.with_code(
        step=body.step,
        code=Secret(body.code),
        recovery=body.recovery,
        circumstances=circumstances_of(request),
        known_browser=known_browser(request),
    )
    return answered(request, response, outcome, wanted=body.next)


@router.post("/passkey/challenge")
async def passkey_challenge(request: Request, _: Nobody) -> ChallengeOut:
    """What the browser asks its passkeys with."""
    step, options = await identity_of(request).sign_in.passkey_challenge(
        address=address_of(request)
    )
    return ChallengeOut(step=step, options=options)


@router.post("/passkey")
async def with_passkey(
    request: Request, response: Response, body: PasskeyIn, _: Nobody
) -> SignInAnswer:
    """Sign in by passkey."""
    outcome = await identity_of(request).sign_in.with_passkey(
        step=body.step, response=body.response, circumstances=circumstances_of(request)
    )
    return answered(request, response, outcome, wanted=body.next)


@router.post("/link")
async def with_link(request: Request, response: Response, body: LinkIn, _: Nobody) -> SignInAnswer:
    """Sign in by a one-time link, to set up how one signs in."""
    outcome = await identity_of(request).sign_in.with_link(
        link=Secret(body.link), circumstances=circumstances_of(request)
    )
    return answered(request, response, outcome, wanted="")


@router.post("/invitation")
async def with_invitation(
    request: Request, response: Response, body: InvitationAnswerIn, _: Nobody
) -> SignInAnswer:
    """Accept an invitation, and set up how one signs in."""
    outcome = await identity_of(request).sign_in.with_invitation(
        secret=Secret(body.invitation), name=body.name, circumstances=circumstances_of(request)
    )
    return answered(request, response, outcome, wanted="")


@router.get("/issuers")
async def offered_issuers(
    request: Request, _: Nobody, organization_id: Annotated[OptionalIdentifier, Query()] = ""
) -> OfferedIssuers:
    """Outside issuers that one may sign in through."""
    found = await identity_of(request).issuers.offered(organization_id)
    return OfferedIssuers(items=[OfferedIssuerOut.of(issuer) for issuer in found])


@router.post("/outside")
async def begin_outside(
    request: Request, response: Response, body: OutsideIn, _: Nobody
) -> OutsideOut:
    """Begin a sign-in through an outside issuer; the browser goes to the URL."""
    begun = await identity_of(request).outside.begin(
        issuer_id=body.issuer_id, wanted=local_path(body.next), address=address_of(request)
    )
    set_visit(request, response, begun.cookie)
    return OutsideOut(url=begun.url)


def answered(
    request: Request, response: Response, outcome: Outcome, *, wanted: str
) -> SignInAnswer:
    """The answer to a sign-in, with its cookies."""
    set_outcome(request, response, outcome)
    if outcome.started is None:
        return SignInAnswer(
            state=SignInState.CODE_WANTED, step=outcome.step, next=local_path(wanted)
        )
    session = outcome.started.session
    return SignInAnswer(
        state=SignInState.SET_UP_WANTED if session.limited else SignInState.SIGNED_IN,
        next=SET_UP if session.limited else local_path(wanted),
        csrf_token=csrf_text(outcome.started.text),
        session=SessionOut.of(session),
    )
