"""What is wrong with a secret, and how bad: a pure judgement of gathered facts.

The order of risk is the sum of the weights of what holds now and is not excepted; equal sums are
ordered by how long the secret has been known.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from keylease.contracts.findings import PlaceKind
from keylease.contracts.purposes import Purpose

UNUSED_AFTER: Final = 30 * 24 * 3600 * 1_000_000
"""Microseconds without a call after which a credential counts as unused."""


class State(StrEnum):
    """A reason to act. Stored in exceptions: values are never renamed."""

    LIVE_IN_CODE = "live_in_code"
    """It works, and lies in a repository."""
    AT_VENDOR = "at_vendor"
    PRODUCTION_IN_EVAL = "production_in_eval"
    SHARED_BETWEEN_ENVIRONMENTS = "shared_between_environments"
    IN_CODE = "in_code"
    IN_HISTORY = "in_history"
    ONCE_EXPOSED = "once_exposed"
    """It was in a place that others could read; the place is gone, the exposure is not."""
    OUTSIDE_GATEWAY = "outside_gateway"
    """It lies in plain text where a program reads it, so its use passes the gateway by."""
    UNOWNED = "unowned"
    OVERDUE = "overdue"
    UNUSED = "unused"
    UNKNOWN_CREDENTIAL = "unknown_credential"
    """No credential of the policy is known to be this secret."""


_WEIGHTS: Final = {
    State.LIVE_IN_CODE: 100,
    State.AT_VENDOR: 60,
    State.PRODUCTION_IN_EVAL: 60,
    State.IN_CODE: 50,
    State.IN_HISTORY: 40,
    State.SHARED_BETWEEN_ENVIRONMENTS: 35,
    State.ONCE_EXPOSED: 30,
    State.OUTSIDE_GATEWAY: 25,
    State.OVERDUE: 20,
    State.UNOWNED: 15,
    State.UNKNOWN_CREDENTIAL: 10,
    State.UNUSED: 5,
}
_CODE: Final = frozenset(
    {
        PlaceKind.FILE,
        PlaceKind.NOTEBOOK_SOURCE,
        PlaceKind.NOTEBOOK_OUTPUT,
        PlaceKind.CI_CONFIGURATION,
        PlaceKind.CONTAINER_CONFIGURATION,
        PlaceKind.KUBERNETES_MANIFEST,
        PlaceKind.HELM_VALUES,
        PlaceKind.TERRAFORM_CODE,
        PlaceKind.DEPLOYMENT_CONFIGURATION,
        PlaceKind.GIT_COMMIT,
    }
)
_EVAL_NAMES: Final = ("eval", "experiment", "notebook", "benchmark")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What the judgement needs of a location."""

    kind: str
    path: str = ""
    repository: str = ""
    environment: str = ""
    at_vendor: bool = False
    in_history_only: bool = False
    removed: bool = False

    @property
    def in_code(self) -> bool:
        """Whoever can read the repository can read it."""
        return bool(self.repository) and self.kind in _CODE


class CredentialFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy says of the credential that a secret is."""

    id: str
    name: str = ""
    owner: str = ""
    purposes: tuple[str, ...] = ()
    environment: str = ""
    changed_at: int = 0
    """When its present version was first seen; microseconds UTC."""
    maximum_age: int | None = None
    """Seconds."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is judged."""

    live: bool | None = None
    """``None`` is not known."""
    owner: str = ""
    places: tuple[Place, ...] = ()
    credential: CredentialFacts | None = None
    last_used: int | None = None
    known_since: int = 0


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The states that hold, worst first, and their sum."""

    states: tuple[State, ...]
    risk: int


def judge(facts: Facts, *, now: int, excepted: frozenset[State] = frozenset()) -> Judgement:
    """Say what holds. What is excepted is left out; a dead secret has only history."""
    if facts.live is False:
        exposed = any(place.in_code or place.at_vendor for place in facts.places)
        found = {State.ONCE_EXPOSED} if exposed else set()
    else:
        found = _holding(facts, now)
    states = sorted(found - excepted, key=lambda state: -_WEIGHTS[state])
    return Judgement(states=tuple(states), risk=sum(_WEIGHTS[state] for state in states))


def _holding(facts: Facts, now: int) -> set[State]:
    found: set[State] = set()
    here = [place for place in facts.places if not place.removed]
    code = [place for place in here if place.in_code and not place.in_history_only]
    if code:
        found.add(State.LIVE_IN_CODE if facts.live else State.IN_CODE)
    if any(place.in_code and place.in_history_only for place in here):
        found.add(State.IN_HISTORY)
    if any(place.at_vendor for place in here):
        found.add(State.AT_VENDOR)
    if any(place.removed and (place.in_code or place.at_vendor) for place in facts.places):
        found.add(State.ONCE_EXPOSED)
    if any(not place.at_vendor and not place.in_code for place in here):
        found.add(State.OUTSIDE_GATEWAY)
    if not facts.owner and not (facts.credential and facts.credential.owner):
        found.add(State.UNOWNED)
    environments = {place.environment for place in here if place.environment}
    if facts.credential is None:
        found.add(State.UNKNOWN_CREDENTIAL)
    else:
        environments |= {facts.credential.environment} - {""}
        found |= _of_credential(facts, facts.credential, here, now)
    if len(environments) > 1:
        found.add(State.SHARED_BETWEEN_ENVIRONMENTS)
    return found


def _of_credential(
    facts: Facts, credential: CredentialFacts, here: list[Place], now: int
) -> set[State]:
    found: set[State] = set()
    if Purpose.PRODUCTION in credential.purposes and any(
        name in place.path.lower() for place in here for name in _EVAL_NAMES
    ):
        found.add(State.PRODUCTION_IN_EVAL)
    age = (now - credential.changed_at) // 1_000_000 if credential.changed_at else 0
    if credential.maximum_age is not None and age > credential.maximum_age:
        found.add(State.OVERDUE)
    if now - (facts.last_used or facts.known_since) > UNUSED_AFTER:
        found.add(State.UNUSED)
    return found
