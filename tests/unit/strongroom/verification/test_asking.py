"""Each key is asked about once, at its provider's pace, for a bounded time; answers are cleaned."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.plain_server import PlainServer, http, plain_server

from keylease.contracts.findings import Belonging, Liveness
from keylease.contracts.verification import Question, QuestionFrames, Verdict, frame
from keylease.strongroom.configuration import VerificationSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.verification.asking import Asker, cleaned
from keylease.strongroom.verification.checks.interfaces import Found

GROQ, PATH = "groq-api-key", "/openai/v1/models"
GOOD = http({"object": "list", "data": []})
REFUSED = http({"error": {"code": "invalid_api_key"}}, status="401 Unauthorized")


def question(kind: str = GROQ, secret: str = "", *, key_id: str = "") -> Question:
    return Question(
        secrets.token_bytes(16), kind, key_id, (secret or secrets.token_hex(20)).encode()
    )


async def ask(
    *questions: Question,
    at: PlainServer | None = None,
    providers: tuple[str, ...] = ("groq", "langfuse", "gitlab", "mistral"),
    longest: float = 60,
    waits: list[float] | None = None,
    private: bool = True,
) -> dict[bytes, Verdict]:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    async def coming() -> AsyncIterator[Question]:
        for one in questions:
            yield one

    places = tuple(
        VerificationSettings(provider=name, url=at.url, allow_private_address=private)
        for name in providers
        if at is not None
    )
    asker = Asker(places=places, clock=ManualClock(), sleep=sleep, longest=longest)
    return {verdict.digest: verdict for verdict in await asker.verdicts(coming())}


async def test_live_and_dead_are_told_with_the_time() -> None:
    one = question()
    async with plain_server() as server:
        server.answers[PATH] = GOOD
        found = await ask(one, at=server)
        assert (found[one.digest].liveness, found[one.digest].at) == (
            Liveness.LIVE,
            ManualClock().now(),
        )
        assert b"Authorization: Bearer " + one.secret in server.heads[0]
        server.answers[PATH] = REFUSED
        assert (await ask(one, at=server))[one.digest].liveness is Liveness.DEAD


async def test_a_secret_is_asked_about_once_however_often_and_as_whatever_it_was_met() -> None:
    one = question()
    other_kind = Question(one.digest, "mistral-api-key", "", one.secret)
    unasked = Question(one.digest, "generic-secret", "", one.secret)
    async with plain_server() as server:
        server.answers[PATH] = server.answers["/v1/models"] = GOOD
        found = await ask(unasked, one, one, other_kind, unasked, at=server)
        assert sum(server.requests.values()) == 1
    assert [verdict.liveness for verdict in found.values()] == [Liveness.LIVE]


async def test_a_half_of_a_pair_waits_for_the_other_half() -> None:
    alone = question("langfuse-secret-key")
    paired = Question(alone.digest, alone.kind, "pk-lf-1", alone.secret)
    async with plain_server() as server:
        server.answers["/api/public/projects"] = http({"data": [{"name": "chat"}]})
        found = await ask(alone, paired, at=server)
        assert found[alone.digest].liveness is Liveness.LIVE
        only = await ask(alone, at=server)
        assert only[alone.digest].liveness is Liveness.UNKNOWN
        assert (only[alone.digest].at, sum(server.requests.values())) == (0, 1)


async def test_a_provider_is_asked_once_a_second_and_left_alone_when_it_says_so() -> None:
    waits: list[float] = []
    async with plain_server() as server:
        server.answers[PATH] = GOOD
        await ask(*(question() for _ in range(4)), at=server, waits=waits)
        assert len(waits) == 3
        assert all(0.5 < wait <= 1 for wait in waits)
        waits.clear()
        server.answers[PATH] = http(b"{}", status="429 Slow", headers="Retry-After: 20\r\n")
        found = await ask(question(), question(), at=server, waits=waits)
    assert {verdict.liveness for verdict in found.values()} == {Liveness.UNKNOWN}
    assert len(waits) == 1
    assert 20 < waits[0] <= 21


async def test_the_whole_takes_a_bounded_time() -> None:
    async with plain_server() as server:
        server.answers[PATH] = GOOD
        found = await ask(question(), question(), at=server, longest=0)
        assert server.requests == {}
    assert {verdict.reason for verdict in found.values()} == {"There was no time left to ask."}


async def test_no_redirect_is_followed() -> None:
    async with plain_server() as server, plain_server() as other:
        moved = f"Location: {other.url}{PATH}\r\n"
        server.answers[PATH] = http(b"", status="307 Moved", headers=moved)
        one = question()
        found = await ask(one, at=server)
        assert found[one.digest].liveness is Liveness.UNKNOWN
        assert other.requests == {}


async def test_a_provider_that_cannot_be_reached_is_not_tried_with_every_key() -> None:
    async def reset(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with plain_server() as server:
        server.answers[PATH] = reset
        found = await ask(*(question() for _ in range(6)), at=server)
        assert sum(server.requests.values()) == 3
    assert len(found) == 6
    assert all("cannot be reached" in verdict.reason for verdict in found.values())


async def test_a_private_address_or_plain_http_must_be_allowed() -> None:
    async with plain_server() as server:
        server.answers[PATH] = GOOD
        one = question()
        found = await ask(one, at=server, private=False)
        assert found[one.digest].liveness is Liveness.UNKNOWN
        assert server.connections == 0


async def test_a_refusal_by_a_place_that_the_owner_named_counts() -> None:
    one = question("gitlab-token", "glpat-" + secrets.token_hex(10))
    path = "/api/v4/personal_access_tokens/self"
    async with plain_server() as server:
        server.answers[path] = http({"message": "401 Unauthorized"}, status="401 Unauthorized")
        assert (await ask(one, at=server))[one.digest].liveness is Liveness.DEAD


async def test_unknown_kinds_are_said_to_be_and_nobody_is_asked() -> None:
    async with plain_server() as server:
        kinds = ("generic-secret", "private-key", "keylease-api-key", "nonsense")
        found = await ask(*map(question, kinds), at=server)
        assert server.connections == 0
    assert {verdict.liveness for verdict in found.values()} == {Liveness.UNKNOWN}
    assert {verdict.at for verdict in found.values()} == {0}


@pytest.mark.parametrize("cut", [0, 3, 14, 28])
def test_nothing_of_the_key_is_in_what_is_passed_on(cut: int) -> None:
    secret = "zz" + secrets.token_hex(19)
    piece = secret[cut : cut + 12]
    said = Belonging(
        account=f"key {piece} of", organization="acme\x1b[31m\n", project=secret, scopes=(secret,)
    )
    clean = cleaned(Found(Liveness.LIVE, "x", said), Secret(secret)).belongs_to
    assert clean == Belonging(organization="acme [31m")
    long = cleaned(Found(Liveness.LIVE, "x", Belonging(account="a" * 9999)), Secret(secret))
    assert long.belongs_to is not None
    assert len(long.belongs_to.account) == 200


def test_frames_hold_together_in_any_pieces() -> None:
    questions = [question() for _ in range(5)]
    whole = b"".join(frame(one) or b"" for one in questions)
    for size in (1, 3, 50, len(whole)):
        frames = QuestionFrames()
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert [one for piece in pieces for one in frames.feed(piece)] == questions
    assert frame(question(secret="x" * 100_000)) is None
    assert questions[0].secret.decode() not in repr(questions)


@pytest.mark.parametrize("junk", [b"\xff\xff\xff\xff", b"\0\0\0\1\x01", b"\0\0\0\2\x91\xa0"])
def test_what_is_no_frame_is_refused(junk: bytes) -> None:
    with pytest.raises(ValueError, match="frame"):
        QuestionFrames().feed(junk)
