"""The stored sign-in, and to whom its text is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.plain_server import PlainServer, http, plain_server

from keylease.errors import ApiProblem, NotSignedIn, ServerUnreachable, SettingsInvalid
from keylease.sdk.platform import (
    EXCHANGE_AFTER,
    DeviceSignIn,
    StoredSignIn,
    StoredSignIns,
    authorization,
    exchanged,
    identity_tokens,
    sign_out,
)

TEXT = "kls_" + "A" * 43


def stored_at(server: str, renewed_at: int = 0) -> StoredSignIn:
    return StoredSignIn(server=server, text=TEXT, renewed_at=renewed_at)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Slept:
    """Sleeps by moving the clock."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.clock.advance(seconds)


def codes_of(server: PlainServer) -> None:
    server.answers["/oauth/device_authorization"] = http(
        {
            "device_code": "d" * 43,
            "user_code": "BCDF-GHJK",
            "verification_uri": f"{server.url}/device",
            "verification_uri_complete": f"{server.url}/device?code=BCDF-GHJK",
            "expires_in": 600,
            "interval": 5,
        }
    )


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    sign_ins = StoredSignIns(tmp_path / "new" / "keylease")
    assert sign_ins.read() is None
    sign_ins.write(stored_at("https://keylease.example.com"))
    assert sign_ins.path.stat().st_mode & 0o777 == 0o600
    assert sign_ins.path.parent.stat().st_mode & 0o777 == 0o700
    read = sign_ins.read()
    assert read is not None
    assert read.text == TEXT
    assert TEXT not in repr(read)
    sign_ins.path.chmod(0o644)
    with pytest.raises(SettingsInvalid, match="others"):
        sign_ins.read()
    for wrong in ("", "{}", '{"format":2,"server":"s","text":"t","renewed_at":0}'):
        sign_ins.path.write_text(wrong)
        sign_ins.path.chmod(0o600)
        with pytest.raises(SettingsInvalid):
            sign_ins.read()
    sign_ins.forget()
    sign_ins.forget()
    assert sign_ins.read() is None


def test_a_text_goes_to_the_server_that_gave_it_and_never_in_the_clear() -> None:
    stored = stored_at("https://keylease.example.com")
    good = authorization("https://keylease.example.com", api_key="", stored=stored)
    assert good == {"Authorization": f"Bearer {TEXT}"}
    for other in ("https://evil.example", "https://keylease.example.com.evil.example"):
        assert authorization(other, api_key="", stored=stored) == {}
    assert authorization("http://localhost:4140", api_key="kl_x", stored=None)
    for clear in ("http://keylease.example.com", "http://10.0.0.1:4140", "http://localhost.evil"):
        with pytest.raises(SettingsInvalid, match="TLS"):
            authorization(clear, api_key="kl_x", stored=None)
    with pytest.raises(SettingsInvalid):
        authorization("https://user:word@keylease.example.com", api_key="kl_x", stored=None)
    with pytest.raises(SettingsInvalid, match="characters"):
        authorization("https://x.example", api_key="kl_x\r\nHost: evil", stored=None)


async def test_a_device_waits_as_it_is_told(clock: ManualClock) -> None:
    async with plain_server() as server:
        codes_of(server)
        slept = Slept(clock)
        sign_in = DeviceSignIn(server.url, clock=clock, sleep=slept)
        codes = await sign_in.begin()
        assert "BCDF" not in repr(codes)
        answers = iter(
            [
                http({"error": "authorization_pending"}, status="400 Bad Request"),
                http({"error": "slow_down"}, status="400 Bad Request"),
                http({"code": "database_unavailable"}, status="503 Service Unavailable"),
                http({"access_token": TEXT}),
            ]
        )

        async def next_answer(writer: object) -> None:
            writer.write(next(answers))  # type: ignore[attr-defined]  # asyncio's writer

        server.answers["/oauth/token"] = next_answer
        stored = await sign_in.wait(codes)
        assert (stored.server, stored.text) == (server.url, TEXT)
        assert slept.seconds == [5, 5, 10, 15]


async def test_a_device_that_is_refused_or_late_is_told(clock: ManualClock) -> None:
    async with plain_server() as server:
        codes_of(server)
        sign_in = DeviceSignIn(server.url, clock=clock, sleep=Slept(clock))
        codes = await sign_in.begin()
        server.answers["/oauth/token"] = http({"error": "access_denied"}, status="400 No")
        with pytest.raises(NotSignedIn, match="refused"):
            await sign_in.wait(codes)
        server.answers["/oauth/token"] = http({"error": "authorization_pending"}, status="400 No")
        with pytest.raises(NotSignedIn, match="in time"):
            await sign_in.wait(codes)


async def test_a_server_that_sends_people_elsewhere_is_not_followed(clock: ManualClock) -> None:
    async with plain_server() as server:
        codes_of(server)
        known = server.answers["/oauth/device_authorization"]
        assert isinstance(known, bytes)
        elsewhere = known.replace(server.url.encode(), b"http://127.0.0.1:6666", 1)
        _, _, body = elsewhere.partition(b"\r\n\r\n")
        server.answers["/oauth/device_authorization"] = http(body)
        with pytest.raises(ServerUnreachable, match="another address"):
            await DeviceSignIn(server.url, clock=clock).begin()


async def test_an_old_text_is_exchanged_once(tmp_path: Path, clock: ManualClock) -> None:
    async with plain_server() as server:
        server.answers["/v1/session/exchange"] = http({"session_text": "kls_new", "csrf_token": ""})
        sign_ins = StoredSignIns(tmp_path)
        fresh = stored_at(server.url, clock.now())
        assert await exchanged(fresh, sign_ins, clock=clock) is fresh
        clock.advance(EXCHANGE_AFTER)
        sign_ins.write(fresh)
        renewed = await exchanged(fresh, sign_ins, clock=clock)
        assert renewed.text == "kls_new"
        # Another command that still has the old one takes what the first has kept.
        assert (await exchanged(fresh, sign_ins, clock=clock)).text == "kls_new"
        assert server.requests["/v1/session/exchange"] == 1


async def test_signing_out_and_identity_tokens(clock: ManualClock) -> None:
    async with plain_server() as server:
        stored = stored_at(server.url, clock.now())
        server.answers["/v1/session"] = http(b"", status="204 No Content")
        await sign_out(stored)
        server.answers["/v1/session"] = http({"detail": "Gone.", "code": "x"}, status="401 No")
        await sign_out(stored)
        server.answers["/v1/session"] = http({"detail": "Broken.", "code": "x"}, status="500 No")
        with pytest.raises(ApiProblem, match="Broken"):
            await sign_out(stored)
        headers = authorization(server.url, api_key="", stored=stored)
        token = identity_tokens(server.url, headers, gateway_group="default")
        server.answers["/v1/identity-token"] = http({"token": "a.b.c", "expires_in": 300})
        assert await token() == "a.b.c"
        server.answers["/v1/identity-token"] = http(b"<html>", status="502 No")
        with pytest.raises(ServerUnreachable):
            await token()
