"""The inventory as its readers see it."""

from __future__ import annotations

import msgspec

from keylease.contracts.findings import Location
from keylease.platform.inventory.consumers import Consumer
from keylease.platform.inventory.reported import Reported
from keylease.platform.inventory.states import CredentialFacts, State


class StandsFor(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that a name without a value is linked with."""

    secret_id: str
    evidence: str
    ambiguous: bool
    """It may be another secret's name."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A location with its life."""

    id: str
    source_id: str
    source: str
    vendor_id: str = ""
    provider: str = ""
    """Whose key lies there, as far as the place says."""
    location: Location
    pushed_by: str
    first_seen: int
    last_seen: int
    removed_at: int | None = None
    stands_for: tuple[StandsFor, ...] = ()
    """Of a name without a value, where names are listed: the secrets that it is linked with."""


class BelievedPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A place that keeps a value under a name that is linked with the secret; nobody saw it."""

    place: Place
    evidence: str
    ambiguous: bool
    """It may keep another secret under this name."""


class Exemption(msgspec.Struct, frozen=True, kw_only=True):
    """A state that somebody accepted until a day."""

    id: str
    secret_id: str
    state: State
    reason: str
    owner: str
    made_by: str
    made_at: int
    ends_at: int
    withdrawn_at: int | None = None
    version: int


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One secret with everything that is known of it."""

    id: str
    provider: str
    kind: str
    masked: str
    key_id: str
    confidence: str
    live: bool | None
    live_checked_at: int | None
    belongs_to: str
    """The provider's organization or project, as the provider said when it was asked."""
    owner: str
    owner_confirmed: bool
    owner_candidates: tuple[str, ...]
    credential: CredentialFacts | None
    reported: tuple[Reported, ...] = ()
    """Credentials that gateways fetched this secret for. Several: one key under several names."""
    consumers: tuple[Consumer, ...]
    """Seen using it, holding its value, or named by evidence; each says which."""
    last_used: int | None
    """By calls through a gateway. What only names a secret was not seen using it."""
    first_seen: int
    last_seen: int
    removed_at: int | None
    places: tuple[Place, ...]
    believed_places: tuple[BelievedPlace, ...] = ()
    """Where its name stands and its value is kept, most probably."""
    exceptions: tuple[Exemption, ...]
    states: tuple[State, ...]
    risk: int
    version: int


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """An outside tool that was given something."""

    id: str
    name: str
    title: str
    connector: str
    given: tuple[str, ...]
    """``keys``, ``prompts``, ``logs`` ..."""
    since: int | None
    attested_by: str
    attested_at: int
    note: str
    archived_at: int | None
    version: int
