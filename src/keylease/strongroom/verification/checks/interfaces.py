"""What a check is: the question that one kind of key is asked about by, and how to read answers."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

import msgspec

from keylease.contracts.findings import Belonging, Liveness
from keylease.strongroom.secrets import Secret

USE: Final = "ask its provider whether a found key works"


_UNCLEAR: Final[Mapping[int, str]] = {
    HTTPStatus.OK: "The answer has not the form that the provider publishes.",
    HTTPStatus.TOO_MANY_REQUESTS: "The provider was asked too often.",
}


class Request(msgspec.Struct, frozen=True):
    """One harmless request. Holds a key: its text form does not."""

    path: str
    """With its query; never with a key in it, because servers log addresses."""
    headers: Mapping[str, str]
    method: str = "GET"
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path})"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, foreign in every part."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    text: str = ""
    json: Any = None
    """``None`` when the text is no JSON."""

    def member(self, *path: str | int) -> Any:  # noqa: ANN401 - JSON
        """A value deep in the JSON; ``None`` when the way there does not exist."""
        found = self.json
        for step in path:
            if isinstance(step, int):
                found = found[step] if isinstance(found, list) and len(found) > step else None
            else:
                found = found.get(step) if isinstance(found, dict) else None
        return found

    def words(self, *path: str | int) -> str:
        """A text or a whole number deep in the JSON; empty when there is none."""
        found = self.member(*path)
        if isinstance(found, bool) or not isinstance(found, str | int):
            return ""
        return str(found)


class Found(msgspec.Struct, frozen=True):
    """What an answer means."""

    liveness: Liveness
    reason: str
    belongs_to: Belonging | None = None


class NotAsked(msgspec.Struct, frozen=True):
    """Why a key cannot be asked about."""

    reason: str


class Check(Protocol):
    """How keys of some kinds are asked about."""

    @property
    def provider(self) -> str:
        """Its name in ``[[verification]]`` of gateway.toml."""
        ...

    @property
    def title(self) -> str:
        """Its name for a person."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of keys, as the detectors name them."""
        ...

    @property
    def origins(self) -> tuple[str, ...]:
        """Where the public service is; several where regions do not know each other's keys."""
        ...

    @property
    def self_hosted(self) -> bool:
        """Others run it too with keys of the same form, so that a refusal says little."""
        ...

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request | NotAsked:
        """The question. ``now`` is in UTC microseconds, for what is signed."""
        ...

    def read(self, answer: Answer) -> Found:
        """What the answer says."""
        ...


def live(belongs_to: Belonging | None = None, *, reason: str = "It is accepted.") -> Found:
    """The provider takes the key."""
    return Found(Liveness.LIVE, reason, belongs_to if belongs_to != Belonging() else None)


def dead(reason: str = "It is not accepted.") -> Found:
    """The provider does not."""
    return Found(Liveness.DEAD, reason)


def unknown(reason: str) -> Found:
    """No clear answer."""
    return Found(Liveness.UNKNOWN, reason)


def by_status(answer: Answer, belongs_to: Belonging | None = None, *, as_expected: bool) -> Found:
    """What a status means at most providers.

    200 counts only when the answer has its published form: a portal answers 200 to everybody. 403
    is no verdict here, because gateways in front of a provider give it for regions and robots;
    checks that know their provider's own 403 read it before.
    """
    status = answer.status
    if status == HTTPStatus.OK and as_expected:
        return live(belongs_to)
    if status == HTTPStatus.PAYMENT_REQUIRED:
        return live(belongs_to, reason="It is accepted; the account has to be paid for.")
    if status == HTTPStatus.UNAUTHORIZED:
        return dead()
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return unknown("The provider sends elsewhere, which is not followed.")
    return unknown(_UNCLEAR.get(status, f"The provider answered {status}."))


def bearer(secret: Secret) -> dict[str, str]:
    """The usual header."""
    return {"Authorization": f"Bearer {secret.reveal(why=USE).decode('latin-1')}"}
