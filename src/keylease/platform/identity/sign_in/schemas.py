"""Wire types of sign-in. What people type is never in an answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from keylease.platform.identity.sessions.schemas import SessionOut
from keylease.platform.identity.sign_in.interfaces import LONGEST_KEY_DAYS, SignInSettings
from keylease.platform.identity.wire import (
    Email,
    In,
    Label,
    LocalPath,
    MaybeMoment,
    Moment,
    OptionalIdentifier,
    Out,
    PersonName,
    RandomText,
    Typed,
)


class SignInState(StrEnum):
    """Where a sign-in has come to."""

    SIGNED_IN = "signed_in"
    CODE_WANTED = "code_wanted"
    SET_UP_WANTED = "set_up_wanted"
    """Signed in, to set up how one signs in, and for nothing else."""


class SignInAnswer(Out):
    """Where a sign-in has come to. The session itself is a cookie."""

    state: SignInState
    next: str = Field(description="The local path to go to.")
    step: str = Field(default="", description="Give it back with the code.")
    csrf_token: str = ""
    session: SessionOut | None = None


class PasswordIn(In):
    """A sign-in by password."""

    email: Email
    password: Typed
    organization_id: OptionalIdentifier = Field(
        default="", description="Needed when the address is known in several organizations."
    )
    next: LocalPath = ""


class CodeIn(In):
    """A one-time code, or a recovery code."""

    step: RandomText
    code: Typed
    recovery: bool = False
    next: LocalPath = ""


class ChallengeOut(Out):
    """What the browser's ``navigator.credentials`` is asked with."""

    step: str
    options: dict[str, Any]


class PasskeyIn(In):
    """What ``navigator.credentials`` gave, as WebAuthn's JSON."""

    step: RandomText
    response: Annotated[dict[str, Any], Field(max_length=20)]
    next: LocalPath = ""


class LinkIn(In):
    """A one-time link: what stands behind its ``#``."""

    link: RandomText


class InvitationAnswerIn(In):
    """An invitation: what stands behind the ``#`` of its link."""

    invitation: RandomText
    name: PersonName = ""


class OutsideIn(In):
    """A sign-in through an outside issuer."""

    issuer_id: Annotated[str, StringConstraints(min_length=36, max_length=36)]
    next: LocalPath = ""


class LinkOutsideIn(In):
    """Link an outside identity to one's own user."""

    issuer_id: Annotated[str, StringConstraints(min_length=36, max_length=36)]


class OutsideOut(Out):
    """Where the browser goes."""

    url: str


class OfferedIssuerOut(Out):
    """An issuer that one may sign in through."""

    id: str
    name: str


class OfferedIssuers(Out):
    """Those of the organization."""

    items: list[OfferedIssuerOut]


class PasskeyOut(Out):
    """A passkey of one's own."""

    id: str
    name: str
    aaguid: str
    backed_up: bool
    created_at: Moment
    used_at: MaybeMoment


class MethodsOut(Out):
    """How one can sign in."""

    passkeys: list[PasskeyOut]
    password: bool
    one_time_codes: bool
    recovery_codes: int = Field(description="How many are left.")
    second_factor_required: bool
    complete: bool


class NewPasskeyIn(In):
    """A passkey that was just made."""

    step: RandomText
    response: Annotated[dict[str, Any], Field(max_length=20)]
    name: Label


class NewPasswordIn(In):
    """A new password."""

    password: Typed


class IntroductionIn(In):
    """Who one is."""

    name: PersonName
    email: Email


class ConfirmationIn(In):
    """A code of the app that was just set up."""

    code: Typed


class EnrolmentOut(Out):
    """What an app for one-time codes needs. Shown this once."""

    secret: str
    uri: str


class RecoveryCodesOut(Out):
    """Codes for when the app is lost. Shown this once."""

    codes: list[str]


class ChangedOut(Out):
    """The session after a change to how one signs in; its cookie is a new one."""

    session: SessionOut
    csrf_token: str


class ConfirmedOut(Out):
    """One-time codes are set up."""

    session: SessionOut
    csrf_token: str
    codes: list[str] = Field(description="Recovery codes, shown this once.")


class SettingsIn(In):
    """How an organization's people may sign in."""

    second_factor_required: bool
    passwords_allowed: bool
    domains: Annotated[
        list[Annotated[str, StringConstraints(min_length=3, max_length=253)]],
        Field(max_length=50, description="Whose addresses outside issuers may vouch for."),
    ]
    maximum_key_days: int = Field(
        ge=1, le=LONGEST_KEY_DAYS, description="The longest life of an API key."
    )

    def content(self) -> SignInSettings:
        """For the service."""
        return SignInSettings(
            second_factor_required=self.second_factor_required,
            passwords_allowed=self.passwords_allowed,
            domains=tuple(self.domains),
            maximum_key_days=self.maximum_key_days,
        )


class SettingsOut(Out):
    """How an organization's people may sign in."""

    second_factor_required: bool
    passwords_allowed: bool
    domains: list[str]
    maximum_key_days: int
    version: int


class MadeLinkOut(Out):
    """A one-time link, shown this once."""

    link: str
