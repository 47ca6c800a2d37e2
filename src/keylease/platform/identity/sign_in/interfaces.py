"""The shapes of sign-in."""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.platform.identity.sessions.interfaces import StartedSession

DEFAULT_KEY_DAYS: Final = 90
LONGEST_KEY_DAYS: Final = 3650


class SignInSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an organization's people may sign in."""

    second_factor_required: bool = False
    """A password or an issuer alone does not suffice; a passkey is two factors."""
    passwords_allowed: bool = True
    domains: tuple[str, ...] = ()
    """Whose addresses an outside issuer may vouch for."""
    maximum_key_days: int = 365
    """The longest life of an API key."""
    version: int = 0
    """0 while nothing was set."""


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey, as its owner sees it."""

    id: str
    user_id: str
    name: str
    aaguid: str
    transports: str
    backed_up: bool
    created_at: int
    used_at: int | None
    version: int


class StoredPasskey(Passkey, frozen=True, kw_only=True):
    """With what its signatures are checked with."""

    organization_id: str
    credential_digest: str
    credential_id: bytes
    public_key: bytes
    sign_count: int


class Methods(msgspec.Struct, frozen=True, kw_only=True):
    """How a user can sign in."""

    passkeys: tuple[Passkey, ...]
    password: bool
    one_time_codes: bool
    recovery_codes: int
    """How many are left."""
    second_factor_required: bool

    @property
    def complete(self) -> bool:
        """Whether they suffice to sign in without a link or an issuer."""
        if self.passkeys:
            return True
        return self.password and (self.one_time_codes or not self.second_factor_required)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sign-in has come to."""

    started: StartedSession | None = None
    step: str = ""
    """What to go on with when a code is wanted."""
    known_browser: str = ""
    """What this browser is recognised by next time."""
