"""Passkeys (WebAuthn level 3): challenges, registration and sign-in, as values.

Protects: a response counts for this origin, this challenge and this site's name only; the person
    was verified by their device (fingerprint, PIN), so a passkey is two factors; a counter that
    goes back shows a copy and is refused.
Does not protect: a passkey that its owner's cloud account shares with whoever gets into that.
Limits: no attestation is asked for: which make an authenticator is says little and tells much.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import webauthn
from webauthn.helpers import (
    bytes_to_base64url,
    options_to_json_dict,
    parse_authentication_credential_json,
    parse_registration_credential_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from keylease.errors import InputInvalid, SignInRefused
from keylease.platform.identity.interfaces import KnownUser
from keylease.platform.identity.one_time import digest_of
from keylease.platform.identity.sign_in.interfaces import StoredPasskey

_NAME: Final = "Keylease"
_TRANSPORTS: Final = {"usb", "nfc", "ble", "internal", "hybrid", "smart-card", "cable"}


class Challenge(msgspec.Struct, frozen=True):
    """What the browser is asked to sign."""

    options: dict[str, Any]
    """For ``navigator.credentials``, as WebAuthn's JSON."""
    challenge: bytes


class NewPasskey(msgspec.Struct, frozen=True, kw_only=True):
    """What a registration gave."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    aaguid: str
    transports: str
    backed_up: bool


class UsedPasskey(msgspec.Struct, frozen=True):
    """What a sign-in showed."""

    sign_count: int
    backed_up: bool


class Site:
    """The site that passkeys belong to: a host name and an origin."""

    def __init__(self, public_url: str) -> None:
        self.origin: Final = public_url
        self.name: Final = urlsplit(public_url).hostname or ""

    def registration(self, user: KnownUser, *, known: Sequence[bytes]) -> Challenge:
        """Ask for a new passkey that is none of the known ones."""
        options = webauthn.generate_registration_options(
            rp_id=self.name,
            rp_name=_NAME,
            user_id=uuid.UUID(user.id).bytes,
            user_name=user.email or user.name or _NAME,
            user_display_name=user.name or user.email or _NAME,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=each) for each in known],
        )
        return Challenge(options_to_json_dict(options), options.challenge)

    def sign_in(self) -> Challenge:
        """Ask for any passkey of this site: nobody has to say first who they are."""
        options = webauthn.generate_authentication_options(
            rp_id=self.name, user_verification=UserVerificationRequirement.REQUIRED
        )
        return Challenge(options_to_json_dict(options), options.challenge)

    def registered(self, response: dict[str, Any], *, challenge: bytes) -> NewPasskey:
        """Check a registration; raises ``InputInvalid``."""
        try:
            parsed = parse_registration_credential_json(response)
            verified = webauthn.verify_registration_response(
                credential=parsed,
                expected_challenge=challenge,
                expected_rp_id=self.name,
                expected_origin=self.origin,
                require_user_verification=True,
            )
        except _REFUSALS as error:
            raise InputInvalid(
                "The passkey was not registered.",
                advice="Begin again, on this page and with your device unlocked.",
            ) from error
        given = parsed.response.transports or []
        return NewPasskey(
            credential_id=verified.credential_id,
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            aaguid=verified.aaguid,
            transports=" ".join(sorted(_TRANSPORTS & {item.value for item in given})),
            backed_up=verified.credential_backed_up,
        )

    def signed_in(
        self, response: dict[str, Any], passkey: StoredPasskey, *, challenge: bytes
    ) -> UsedPasskey:
        """Check a sign-in with this passkey; raises ``SignInRefused``."""
        try:
            parsed = parse_authentication_credential_json(response)
            handle = parsed.response.user_handle
            verified = webauthn.verify_authentication_response(
                credential=parsed,
                expected_challenge=challenge,
                expected_rp_id=self.name,
                expected_origin=self.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except _REFUSALS as error:
            raise refused() from error
        if handle is not None and handle != uuid.UUID(passkey.user_id).bytes:
            raise refused()
        return UsedPasskey(verified.new_sign_count, verified.credential_backed_up)


_REFUSALS: Final = (WebAuthnException, ValueError, KeyError, TypeError, IndexError, AttributeError)
"""The library's own, and what its parsers of CBOR and JSON raise for what is neither."""


def credential_digest(response: dict[str, Any]) -> str:
    """What a passkey is found by; of nothing, when the response names none."""
    return digest_of(str(response.get("id", ""))[:2000], purpose="passkey")


def digest_of_credential(credential_id: bytes) -> str:
    """The same, from the bytes."""
    return digest_of(bytes_to_base64url(credential_id), purpose="passkey")


def refused() -> SignInRefused:
    """The one answer to every passkey that does not open."""
    return SignInRefused(
        "The passkey was not accepted.",
        advice="Use one that you have registered here, or sign in in another way.",
    )
