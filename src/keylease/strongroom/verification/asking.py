"""Asks about found keys: each once, each provider no faster than it should be, for a bounded time.

Protects: a key goes to its own provider's host, as code names it or as this machine's gateway.toml
    does, over TLS to a public address; no redirect is followed, nothing is asked twice, and what an
    answer says is cut, cleaned and searched for the key before it is passed on.
Does not protect: the provider sees the key and this machine's address. Whoever planted the key may
    see in the provider's log that it was tried.
Limits: a key whose kind was told wrongly by a name beside it goes to the provider of that name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

import httpx
import msgspec

from keylease import detectors
from keylease.contracts.findings import Belonging, Liveness
from keylease.contracts.verification import Question, Verdict
from keylease.errors import EgressRefused
from keylease.primitives.clock import Clock
from keylease.primitives.egress import guarded_client
from keylease.strongroom.configuration import VerificationSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.verification.checks.interfaces import (
    Answer,
    Check,
    Found,
    NotAsked,
    Request,
    unknown,
)
from keylease.strongroom.verification.registry import check_of

SECONDS_BETWEEN: Final = 1.0
"""Between two requests to one provider."""
LONGEST_SECONDS: Final = 180.0
"""After the last key was handed over; what was not asked until then is not."""
MOST_QUESTIONS: Final = 2000
_REQUEST_SECONDS: Final = 15.0
_MAXIMUM_ANSWER: Final = 4 * 1024 * 1024
_LONGEST_PAUSE: Final = 30.0
_MOST_FAILURES: Final = 3
"""In a row; a provider that cannot be reached is not tried with every key."""
_THROTTLED: Final = httpx.codes.TOO_MANY_REQUESTS
_LONGEST_TEXT: Final = 200
_MOST_SCOPES: Final = 30
_TELLING: Final = 12
"""Characters of a key in a row that may not be in what is passed on; public prefixes excepted."""
_NO_TIME: Final = "There was no time left to ask."
Sleep = Callable[[float], Awaitable[None]]


class Asker:
    """Asks about the keys of one scan."""

    def __init__(
        self,
        *,
        places: tuple[VerificationSettings, ...] = (),
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
        seconds_between: float = SECONDS_BETWEEN,
        longest: float = LONGEST_SECONDS,
    ) -> None:
        """``places`` are where this machine's owner says that providers are."""
        self._places = {place.provider: place for place in places}
        self._clock = clock
        self._sleep = sleep
        self._between = seconds_between
        self._longest = longest
        self._lanes: dict[str, _Lane] = {}
        self._verdicts: dict[bytes, Verdict] = {}
        self._taken: set[tuple[bytes, str, str]] = set()
        self._claimed: set[bytes] = set()

    async def verdicts(self, questions: AsyncIterator[Question]) -> tuple[Verdict, ...]:
        """Ask while questions come, and for a bounded time after the last one."""
        try:
            async with asyncio.TaskGroup() as group:
                async for question in questions:
                    self._take(question, group)
                deadline = asyncio.get_running_loop().time() + self._longest
                for lane in self._lanes.values():
                    lane.finish(deadline)
        finally:
            for lane in self._lanes.values():
                await lane.close()
        return tuple(self._verdicts.values())

    def _take(self, question: Question, group: asyncio.TaskGroup) -> None:
        one = (question.digest, question.kind, question.key_id)
        if one in self._taken:
            return
        check = check_of(question.kind)
        if check is None:
            self._tell(question.digest, unknown("There is no harmless question for this kind."))
            return
        if len(self._taken) >= MOST_QUESTIONS:
            self._tell(question.digest, unknown("There are too many keys to ask about."))
            return
        self._taken.add(one)
        lane = self._lanes.get(check.origins[0])
        if lane is None:
            lane = _Lane(
                self._places.get(check.provider),
                tell=self._tell,
                claim=self._claim,
                clock=self._clock,
                sleep=self._sleep,
                seconds_between=self._between,
            )
            self._lanes[check.origins[0]] = lane
            group.create_task(lane.work())
        lane.queue.put_nowait((check, question))

    def _claim(self, digest: bytes) -> bool:
        """Whether nobody was asked about this secret yet: it may have been met as two kinds."""
        fresh = digest not in self._claimed
        self._claimed.add(digest)
        return fresh

    def _tell(self, digest: bytes, found: Found, at: int = 0) -> None:
        if not at and digest in self._verdicts:
            return
        self._verdicts[digest] = Verdict(
            digest=digest,
            liveness=found.liveness,
            reason=found.reason,
            at=at,
            belongs_to=found.belongs_to,
        )


class _Lane:
    """The questions of one provider, one after the other."""

    def __init__(
        self,
        place: VerificationSettings | None,
        *,
        tell: Callable[[bytes, Found, int], None],
        claim: Callable[[bytes], bool],
        clock: Clock,
        sleep: Sleep,
        seconds_between: float,
    ) -> None:
        # Bounded by MOST_QUESTIONS, which the asker counts before it puts anything in.
        self.queue: asyncio.Queue[tuple[Check, Question] | None] = asyncio.Queue()
        self._place = place
        self._tell = tell
        self._claim = claim
        self._clock = clock
        self._sleep = sleep
        self._between = seconds_between
        self._next = 0.0
        self._failures = 0
        self._deadline: float | None = None
        self._client = guarded_client(
            allow_private=place.allow_private_address if place else False,
            timeout=_REQUEST_SECONDS,
            maximum_bytes=_MAXIMUM_ANSWER,
            ca_file=(place.ca_file or None) if place else None,
        )

    def finish(self, deadline: float) -> None:
        """Nothing more will come; stop at ``deadline``, on the loop's clock."""
        self._deadline = deadline
        self.queue.put_nowait(None)

    async def close(self) -> None:
        await self._client.aclose()

    async def work(self) -> None:
        while (item := await self.queue.get()) is not None:
            check, question = item
            secret = Secret(question.secret)
            try:
                await self._about(check, question, secret)
            finally:
                secret.wipe()

    async def _about(self, check: Check, question: Question, secret: Secret) -> None:
        at = self._clock.now()
        first = check.request(secret, question.key_id, origin=check.origins[0], now=at)
        if isinstance(first, NotAsked):
            # The same secret may be met elsewhere with what is missing here.
            self._tell(question.digest, unknown(first.reason), 0)
        elif self._claim(question.digest):
            found, asked = await self._ask(check, secret, question.key_id)
            self._tell(question.digest, cleaned(found, secret), at if asked else 0)

    async def _ask(self, check: Check, secret: Secret, key_id: str) -> tuple[Found, bool]:
        """What the provider says, and whether it was asked at all."""
        own = (self._place.url.rstrip("/"),) if self._place is not None else ()
        said: list[Found] = []
        asked = False
        for origin in own or check.origins:
            request = check.request(secret, key_id, origin=origin, now=self._clock.now())
            if isinstance(request, NotAsked):
                return unknown(request.reason), False
            found = await self._may_not()
            if found is None:
                asked = True
                answer = await self._answer(origin, request)
                found = check.read(answer) if isinstance(answer, Answer) else answer
            said.append(found)
            if found.liveness is Liveness.LIVE:
                return found, True
        # Dead only where every region says so: one that gave no clear answer may know the key.
        unclear = [found for found in said if found.liveness is Liveness.UNKNOWN]
        if not unclear and check.self_hosted and not own:
            unclear = [
                unknown(f"{check.title}'s public service does not accept it; others run it.")
            ]
        return (unclear or said)[0], asked

    async def _may_not(self) -> Found | None:
        """Wait for the turn to ask; why not to ask when there is none."""
        if self._failures >= _MOST_FAILURES:
            return unknown("The provider cannot be reached.")
        return None if await self._turn() else unknown(_NO_TIME)

    async def _turn(self) -> bool:
        """Wait until this provider may be asked again; False when the time is over before."""
        loop = asyncio.get_running_loop()
        wait = max(0.0, self._next - loop.time())
        if self._deadline is not None and loop.time() + wait >= self._deadline:
            return False
        if wait:
            await self._sleep(wait)
        self._next = loop.time() + self._between
        return True

    async def _answer(self, origin: str, request: Request) -> Answer | Found:
        try:
            got = await self._client.request(
                request.method,
                origin + request.path,
                headers=dict(request.headers),
                content=request.body or None,
            )
        except (httpx.HTTPError, EgressRefused, UnicodeError, ValueError) as error:
            # The text of these errors can hold the address and fields of the request.
            self._failures += 1
            return unknown(f"The provider cannot be reached ({type(error).__name__}).")
        self._failures = 0
        if got.status_code == _THROTTLED:
            pause = got.headers.get("retry-after", "")
            seconds = float(pause) if pause.isascii() and pause.isdigit() else self._between
            self._next += min(seconds, _LONGEST_PAUSE)
        return answer_of(got.status_code, got.headers, got.content)


def answer_of(status: int, headers: Mapping[str, str], content: bytes) -> Answer:
    """An answer in the form that checks read."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        found = None
    return Answer(
        status=status,
        headers={name.lower(): value for name, value in headers.items()},
        text=content[:_MAXIMUM_ANSWER].decode("utf-8", "replace"),
        json=found,
    )


def cleaned(found: Found, secret: Secret) -> Found:
    """The same without anything of the key, in texts that are short and printable."""
    said = found.belongs_to
    if said is None:
        return found
    value = secret.reveal(why="search for it in what its provider says").decode("latin-1")
    clean = Belonging(
        account=_clean(said.account, value),
        organization=_clean(said.organization, value),
        project=_clean(said.project, value),
        scopes=tuple(filter(None, (_clean(one, value) for one in said.scopes[:_MOST_SCOPES]))),
    )
    return msgspec.structs.replace(found, belongs_to=clean if clean != Belonging() else None)


def _clean(text: str, secret: str) -> str:
    plain = "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST_TEXT])
    masked = detectors.mask(plain)[0]
    pieces = range(max(1, len(secret) - _TELLING + 1))
    return "" if any(secret[at : at + _TELLING] in masked for at in pieces) else masked.strip()
