"""How the caller signs in: passkeys, password, one-time and recovery codes, outside identities.

These are a person's own and have no versions. Every change gives the session a new text: its cookie
is set again, and the answer has the CSRF text that belongs to it.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from keylease.platform.db.callers import Caller
from keylease.platform.identity.sessions.interfaces import StartedSession
from keylease.platform.identity.sessions.schemas import SessionOut
from keylease.platform.identity.sessions.service import csrf_text
from keylease.platform.identity.sign_in.schemas import (
    ChallengeOut,
    ChangedOut,
    ConfirmationIn,
    ConfirmedOut,
    EnrolmentOut,
    IntroductionIn,
    LinkOutsideIn,
    MethodsOut,
    NewPasskeyIn,
    NewPasswordIn,
    OutsideOut,
    PasskeyOut,
    RecoveryCodesOut,
)
from keylease.platform.identity.sign_in.service import Secret
from keylease.platform.server.cookies import HOME, set_session, set_visit
from keylease.platform.server.guard import address_of, signed_in
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import Identifier
from keylease.platform.server.services import identity_of

router = APIRouter(
    prefix="/v1/sign-in-methods",
    tags=["sign-in"],
    responses=problem_responses(400, 401, 403, 404, 409, 413, 422, 429, 503),
)
Person = Annotated[Caller, signed_in(in_session=True)]


@router.get("")
async def read_methods(request: Request, caller: Person) -> MethodsOut:
    """How the caller can sign in."""
    methods = await identity_of(request).methods.read(caller)
    return MethodsOut(
        passkeys=[PasskeyOut.of(passkey) for passkey in methods.passkeys],
        password=methods.password,
        one_time_codes=methods.one_time_codes,
        recovery_codes=methods.recovery_codes,
        second_factor_required=methods.second_factor_required,
        complete=methods.complete,
    )


@router.post("/introduction", status_code=204)
async def introduce(request: Request, caller: Person, body: IntroductionIn) -> None:
    """Say who one is, while no address is known: the first owner."""
    await identity_of(request).methods.introduce(caller, name=body.name, email=body.email)


@router.post("/passkeys/challenge")
async def passkey_challenge(request: Request, caller: Person) -> ChallengeOut:
    """What the browser makes a passkey with."""
    step, options = await identity_of(request).methods.passkey_challenge(caller)
    return ChallengeOut(step=step, options=options)


@router.post("/passkeys", status_code=201)
async def add_passkey(
    request: Request, response: Response, caller: Person, body: NewPasskeyIn
) -> ChangedOut:
    """Register a passkey."""
    started = await identity_of(request).methods.add_passkey(
        caller, step=body.step, response=body.response, name=body.name
    )
    return _changed(request, response, started)


@router.delete("/passkeys/{passkey_id}")
async def remove_passkey(
    request: Request, response: Response, caller: Person, passkey_id: Identifier
) -> ChangedOut:
    """Remove a passkey, unless it is the last way in; the caller's other sessions end."""
    started = await identity_of(request).methods.remove_passkey(caller, passkey_id)
    return _changed(request, response, started)


@router.put("/password")
async def set_password(
    request: Request, response: Response, caller: Person, body: NewPasswordIn
) -> ChangedOut:
    """Set or change the password; the caller's other sessions end."""
    started = await identity_of(request).methods.set_password(caller, Secret(body.password))
    return _changed(request, response, started)


@router.delete("/password")
async def remove_password(request: Request, response: Response, caller: Person) -> ChangedOut:
    """Remove the password, unless it is the last way in; the caller's other sessions end."""
    return _changed(request, response, await identity_of(request).methods.remove_password(caller))


@router.post("/one-time-codes")
async def begin_one_time_codes(request: Request, caller: Person) -> EnrolmentOut:
    """Begin to set up one-time codes; what an app needs is shown this once."""
    enrolment = await identity_of(request).methods.begin_one_time_codes(caller)
    return EnrolmentOut.of(enrolment)


@router.post("/one-time-codes/confirmation")
async def confirm_one_time_codes(
    request: Request, response: Response, caller: Person, body: ConfirmationIn
) -> ConfirmedOut:
    """Finish with a code of the app; the recovery codes are shown this once."""
    started, codes = await identity_of(request).methods.confirm_one_time_codes(
        caller, Secret(body.code)
    )
    changed = _changed(request, response, started)
    return ConfirmedOut(session=changed.session, csrf_token=changed.csrf_token, codes=codes)


@router.delete("/one-time-codes")
async def remove_one_time_codes(request: Request, response: Response, caller: Person) -> ChangedOut:
    """Remove one-time and recovery codes, unless they are needed."""
    return _changed(
        request, response, await identity_of(request).methods.remove_one_time_codes(caller)
    )


@router.post("/recovery-codes")
async def new_recovery_codes(request: Request, caller: Person) -> RecoveryCodesOut:
    """New recovery codes in the place of the old ones."""
    codes = await identity_of(request).methods.new_recovery_codes(caller)
    return RecoveryCodesOut(codes=codes)


@router.post("/outside")
async def link_outside(
    request: Request, response: Response, caller: Person, body: LinkOutsideIn
) -> OutsideOut:
    """Link an outside identity to one's own user; the browser goes to the URL."""
    begun = await identity_of(request).outside.begin(
        issuer_id=body.issuer_id, wanted=HOME, address=address_of(request), link_to=caller
    )
    set_visit(request, response, begun.cookie)
    return OutsideOut(url=begun.url)


def _changed(request: Request, response: Response, started: StartedSession) -> ChangedOut:
    set_session(request, response, started.text)
    return ChangedOut(session=SessionOut.of(started.session), csrf_token=csrf_text(started.text))
