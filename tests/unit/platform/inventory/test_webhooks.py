"""Webhooks: who is told, what is told, and what is never reached."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from tests.support.eventually import eventually
from tests.support.inventory_kit import ADA, STRANGER, Declared, finding, fingerprint, place, report
from tests.support.manual_clock import ManualClock

from keylease.errors import (
    InputInvalid,
    ResourceNotFound,
    StorageCorrupt,
    VersionChanged,
)
from keylease.platform.db.database import Database
from keylease.platform.db.tables import OUTBOX
from keylease.platform.inventory.service import InventoryService
from keylease.platform.inventory.webhook_keys import WebhookKeys
from keylease.platform.inventory.webhook_records import WebhookWish
from keylease.platform.inventory.webhook_sender import (
    LONGEST_ASKED_WAIT,
    MAXIMUM_FAILURES,
    WebhookSender,
)
from keylease.platform.inventory.webhooks import WebhookService, check_url

LOCAL = frozenset({"127.0.0.1", "receiver.example.com"})


class Receiver:
    """Takes messages, or answers as it is told."""

    def __init__(self) -> None:
        self.status = 204
        self.location = ""
        self.retry_after = ""
        self.port = 0
        self.taken: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def changes(self) -> list[dict[str, object]]:
        return [change for _, body in self.taken for change in json.loads(body)["changes"]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.taken.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(told.status)
            if told.retry_after:
                self.send_header("Retry-After", told.retry_after)
            if told.location:
                self.send_header("Location", told.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_port
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


class Rig:
    """The three services, and a resolver that says what a test wants."""

    def __init__(
        self, database: Database, clock: ManualClock, directory: Path, private: frozenset[str]
    ) -> None:
        keys = WebhookKeys(directory / "webhooks")
        self.clock = clock
        self.addresses = ["127.0.0.1"]
        self.inventory = InventoryService(database, credentials=Declared(), uses=Declared())
        self.webhooks = WebhookService(database, keys=keys, private_hosts=private)
        self.sender = WebhookSender(
            database, clock=clock, keys=keys, private_hosts=private, resolver=self._resolve
        )

    async def _resolve(self, host: str, port: int, /) -> Sequence[str]:
        del port
        return [host] if host[0].isdigit() else self.addresses

    async def change(self, number: int = 1) -> None:
        """Let something change."""
        key = finding(fingerprint(number), at=[place("/srv/secret-project/.env")])
        sent = report(key, started_at=self.clock.now(), root=f"/{number}")
        await self.inventory.push(ADA, sent)


@pytest.fixture
def rig(database: Database, clock: ManualClock, tmp_path: Path) -> Rig:
    return Rig(database, clock, tmp_path, LOCAL)


async def test_a_message_is_signed_and_says_no_more_than_it_may(
    rig: Rig, receiver: Receiver
) -> None:
    made = await rig.webhooks.create(ADA, WebhookWish(url=receiver.url))
    await rig.change()
    assert (await rig.webhooks.one(ADA, made.id)).waiting == 2
    assert await rig.sender.deliver_due() == 1
    ((headers, body),) = receiver.taken
    key = Ed25519PublicKey.from_public_bytes(
        base64.b64decode(made.public_key.removeprefix("whpk_"))
    )
    scheme, _, signature = headers["webhook-signature"].partition(",")
    assert scheme == "v1a"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key.verify(base64.b64decode(signature), signed)
    message = json.loads(body)
    assert set(message) == {"type", "organization_id", "webhook_id", "changes"}
    allowed = {"id", "at", "what", "by", "secret_id", "provider", "masked", "state"}
    assert all(set(change) <= allowed for change in message["changes"])
    assert {change["what"] for change in message["changes"]} == {"found", "location_found"}
    assert b"secret-project" not in body
    assert (await rig.webhooks.one(ADA, made.id)).waiting == 0
    assert await rig.sender.deliver_due() == 0
    (attempt,) = await rig.webhooks.deliveries(ADA, made.id)
    assert (attempt.delivered, attempt.status, attempt.changes) == (True, 204, 2)


async def test_only_what_is_wanted_is_told(rig: Rig, receiver: Receiver) -> None:
    await rig.webhooks.create(ADA, WebhookWish(url=receiver.url, events=("found",)))
    await rig.change()
    await rig.sender.deliver_due()
    assert [change["what"] for change in receiver.changes] == ["found"]


async def test_no_client_is_made_for_nothing(
    rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.webhooks.create(ADA, WebhookWish(url=receiver.url))
    monkeypatch.setattr(rig.sender, "_client", None)
    assert await rig.sender.deliver_due() == 0


async def test_another_organization_tells_and_sees_nothing(rig: Rig, receiver: Receiver) -> None:
    theirs = await rig.webhooks.create(STRANGER, WebhookWish(url=receiver.url))
    await rig.change()
    assert await rig.sender.deliver_due() == 0
    assert await rig.webhooks.all(ADA) == ()
    with pytest.raises(ResourceNotFound):
        await rig.webhooks.one(ADA, theirs.id)
    ours = await rig.webhooks.create(ADA, WebhookWish(url=receiver.url))
    assert ours.public_key != theirs.public_key


async def test_what_fails_waits_longer_each_time_and_is_not_lost(
    rig: Rig, receiver: Receiver
) -> None:
    made = await rig.webhooks.create(ADA, WebhookWish(url=receiver.url))
    await rig.change()
    receiver.status = 500
    assert await rig.sender.deliver_due() == 1
    assert await rig.sender.deliver_due() == 0
    rig.clock.advance(31)
    assert await rig.sender.deliver_due() == 1
    rig.clock.advance(31)
    assert await rig.sender.deliver_due() == 0
    receiver.status = 200
    rig.clock.advance(30)
    assert await rig.sender.deliver_due() == 1
    assert len({headers["webhook-id"] for headers, _ in receiver.taken}) == 1
    after = await rig.webhooks.one(ADA, made.id)
    assert (after.failures, after.waiting, after.enabled) == (0, 0, True)


async def test_who_fails_too_often_is_disabled_and_it_is_said(
    rig: Rig, receiver: Receiver, database: Database
) -> None:
    made = await rig.webhooks.create(ADA, WebhookWish(url=receiver.url))
    await rig.change()
    receiver.status = 503
    for _ in range(MAXIMUM_FAILURES):
        assert await rig.sender.deliver_due() == 1
        rig.clock.advance(3601)
    found = await rig.webhooks.one(ADA, made.id)
    assert not found.enabled
    assert "status 503" in found.disabled_reason
    await rig.change(2)
    assert await rig.sender.deliver_due() == 0
    async with database.reading() as tx:
        entries = [row["entry"] for row in await tx.rows(select(OUTBOX.c.entry))]
    assert sum(b"inventory_webhook.disabled" in entry for entry in entries) == 1
    receiver.status = 204
    wish = WebhookWish(url=receiver.url)
    with pytest.raises(VersionChanged):
        await rig.webhooks.change(ADA, made.id, wish, expected=made.version)
    await rig.webhooks.change(ADA, made.id, wish, expected=found.version)
    await rig.change(3)
    assert await rig.sender.deliver_due() == 1
    assert len(receiver.changes) == 2 * MAXIMUM_FAILURES + 2


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("600", 600),
        ("DATE", 900),
        ("5", 30),
        ("-5", 30),
        ("soon", 30),
        ("9" * 40, LONGEST_ASKED_WAIT),
        ("9" * 5000, 30),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 30),
        ("Wed, 99 Oct 2015 07:28:00 GMT", 30),
    ],
)
async def test_a_receiver_that_asks_for_time_gets_it(
    rig: Rig, receiver: Receiver, asked: str, seconds: int
) -> None:
    await rig.webhooks.create(ADA, WebhookWish(url=receiver.url))
    await rig.change()
    moment = rig.clock.now() / 1_000_000 + 900
    receiver.status = 429
    receiver.retry_after = formatdate(moment, usegmt=True) if asked == "DATE" else asked
    assert await rig.sender.deliver_due() == 1
    rig.clock.advance(seconds - 2)
    assert await rig.sender.deliver_due() == 0
    rig.clock.advance(4)
    receiver.status, receiver.retry_after = 200, ""
    assert await rig.sender.deliver_due() == 1


async def test_a_receiver_that_says_it_is_gone_is_believed(rig: Rig, receiver: Receiver) -> None:
    made = await rig.webhooks.create(ADA, WebhookWish(url=receiver.url))
    await rig.change()
    receiver.status = 410
    await rig.sender.deliver_due()
    assert not (await rig.webhooks.one(ADA, made.id)).enabled


async def test_a_redirect_is_not_followed(rig: Rig, receiver: Receiver) -> None:
    made = await rig.webhooks.create(ADA, WebhookWish(url=receiver.url))
    await rig.change()
    receiver.status, receiver.location = 307, receiver.url
    await rig.sender.deliver_due()
    assert len(receiver.taken) == 1
    assert (await rig.webhooks.deliveries(ADA, made.id))[0].problem


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://example.com/hook?token=x",
        "https://example.com/hook#x",
        "https://user:word@example.com/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https:///hook",
        "https://[::1",
        "https://exa mple.com/",
        "https://example.com\\@127.0.0.1/",
        "nonsense",
    ],
)
def test_what_is_no_address_for_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(InputInvalid):
        check_url(url, private=lambda _: False)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "169.254.169.254",
        "[::1]",
        "[fd00:ec2::254]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",  # noqa: S104 - an address to refuse
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "[fe80::1%25eth0]",
        "[::127.0.0.1]",
        "localhost",
        "LOCALHOST.",
        "receiver.localhost",
    ],
)
def test_private_addresses_are_refused_unless_they_are_configured(host: str) -> None:
    with pytest.raises(InputInvalid):
        check_url(f"https://{host}/hook", private=lambda _: False)


def test_the_metadata_service_is_never_reached_however_it_is_configured() -> None:
    check_url("http://10.1.2.3/hook", private=lambda _: True)
    check_url("http://localhost/hook", private=lambda _: True)
    for host in ("169.254.169.254", "0xa9fea9fe", "[fd00:ec2::254]"):
        with pytest.raises(InputInvalid, match="metadata"):
            check_url(f"http://{host}/hook", private=lambda _: True)


@pytest.mark.parametrize("host", ["127%2e0%2e0%2e1", "a..b", "receiver.example.com%00.evil", "*"])
def test_a_host_that_readers_could_take_for_another_is_refused(host: str) -> None:
    with pytest.raises(InputInvalid):
        check_url(f"https://{host}/hook", private=lambda _: False)


@pytest.mark.parametrize("host", ["xn--bcher-kva.example", "93.184.216.34", "mylocalhost", "a_b.c"])
def test_names_and_public_addresses_are_taken(host: str) -> None:
    check_url(f"https://{host}:8443/hook", private=lambda _: False)


async def test_a_name_that_leads_inside_is_refused_when_it_is_sent_to(
    database: Database, clock: ManualClock, tmp_path: Path, receiver: Receiver
) -> None:
    closed = Rig(database, clock, tmp_path, frozenset())
    url = f"https://rebound.example.com:{receiver.port}/hook"
    made = await closed.webhooks.create(ADA, WebhookWish(url=url))
    await closed.change()
    for address in ("127.0.0.1", "169.254.169.254", "10.0.0.1"):
        closed.addresses = ["93.184.216.34", address]
        assert await closed.sender.deliver_due() == 1
        clock.advance(3601)
    assert receiver.taken == []
    problems = {one.problem for one in await closed.webhooks.deliveries(ADA, made.id)}
    assert any("private" in problem for problem in problems)


async def test_a_removed_webhook_is_told_nothing(rig: Rig, receiver: Receiver) -> None:
    made = await rig.webhooks.create(ADA, WebhookWish(url=receiver.url))
    await rig.change()
    await rig.webhooks.remove(ADA, made.id, expected=made.version)
    assert await rig.sender.deliver_due() == 0


async def test_it_runs_in_the_background(rig: Rig, receiver: Receiver, database: Database) -> None:
    await rig.webhooks.create(ADA, WebhookWish(url=receiver.url))
    rig.inventory = InventoryService(
        database, credentials=Declared(), uses=Declared(), when_changed=rig.sender.wake
    )
    async with rig.sender.running():
        await rig.change()
        await eventually(lambda: receiver.taken, seconds=30)


def test_a_damaged_key_file_is_said_and_a_good_one_is_private(tmp_path: Path) -> None:
    keys = WebhookKeys(tmp_path)
    text = keys.public_text("o")
    assert WebhookKeys(tmp_path).public_text("o") == text
    assert (tmp_path / "o.key").stat().st_mode & 0o077 == 0
    (tmp_path / "o.key").write_bytes(b"short")
    with pytest.raises(StorageCorrupt):
        WebhookKeys(tmp_path).public_text("o")
