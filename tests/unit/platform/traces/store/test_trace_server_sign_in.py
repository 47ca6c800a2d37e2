"""The way to a ClickHouse server: whose certificate is believed, and whose password is let in."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.certificates import certificate
from tests.support.clickhouse_server import PASSWORD, USER, ClickHouseServer, running_clickhouse
from tests.support.ports import free_port
from tests.support.trace_stores import FIRST, SMALL, Writes, a_span, applied, new_id

from keylease.errors import ConfigurationError, TraceStoreUnavailable
from keylease.platform.traces.store.address import StorePassword, StoreServer, server_address
from keylease.platform.traces.store.store import TraceStore, open_server

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ClickHouseServer]:
    with running_clickhouse(folder / "clickhouse", tls=certificate(folder, HOST)) as server:
        yield server


def reached(url: str) -> TraceStore:
    place = StoreServer(address=server_address(url), password=StorePassword(PASSWORD))
    return open_server(place, limits=SMALL)


def test_rows_are_written_and_read_over_tls(server: ClickHouseServer) -> None:
    authority = server.place.address.ca_file
    store = reached(f"https://{USER}@{HOST}:{server.port}/?ca_cert={authority}")
    trace = new_id()
    store.apply(*applied(Writes(FIRST + 1).put(a_span(trace_id=trace))))
    names = {"t": trace}
    found = store.select("SELECT name FROM spans FINAL WHERE trace_id = {t:String}", names)
    assert found.rows == [("chat",)]
    store.close()


def test_what_is_wrong_with_tls_is_one_clear_error(server: ClickHouseServer, folder: Path) -> None:
    here = f"{HOST}:{server.port}"
    other, empty = certificate(folder, HOST)[0], folder / "empty.pem"
    own, stem = server.place.address.ca_file, f"https://{USER}@{here}/"
    empty.write_bytes(b"nothing\n")
    for url, said in {
        f"{stem}?ca_cert={other}": f"certificate .* at {here} is not trusted: self-signed",
        stem: f"certificate .* at {here} is not trusted: self-signed",
        f"{stem.replace(HOST, 'localhost')}?ca_cert={own}": "not trusted: Hostname mismatch.*host'",
        f"{stem}?ca_cert={folder}/none.pem": f"certificates in {folder}/none.pem cannot be read",
        f"{stem}?ca_cert={empty}": "certificates in .*empty.pem cannot be read",
        f"clickhouse://{USER}@{here}/": f"The ClickHouse server at {here} does not answer",
        f"https://{USER}@{HOST}:{free_port()}/?ca_cert={own}": "does not answer",
    }.items():
        with pytest.raises(TraceStoreUnavailable, match=said) as caught:
            reached(url)
        assert caught.value.advice
        assert PASSWORD not in str(caught.value)


def test_an_expired_certificate_and_a_port_without_tls_are_told_apart(folder: Path) -> None:
    expired = certificate(folder, HOST, is_expired=True)
    with (
        running_clickhouse(folder / "expired", tls=expired) as server,
        pytest.raises(TraceStoreUnavailable, match="not trusted: certificate has expired"),
    ):
        reached(server.url)
    with (
        running_clickhouse(folder / "plain") as server,
        pytest.raises(TraceStoreUnavailable, match="TLS with the ClickHouse server"),
    ):
        reached(f"https://{USER}@{HOST}:{server.port}/")


class File:
    """A password's file, as ``given`` reads it."""

    def __init__(self) -> None:
        self.text = PASSWORD
        self.reads = 0
        self.is_readable = True

    def __call__(self) -> StorePassword:
        self.reads += 1
        if not self.is_readable:
            raise ConfigurationError("The password file cannot be read: Permission denied.")
        return StorePassword(self.text)


def count(store: TraceStore) -> object:
    return store.select("SELECT count() FROM spans FINAL").rows


def test_a_changed_password_is_read_again_when_the_server_refuses(
    server: ClickHouseServer,
) -> None:
    file = File()
    place = msgspec.structs.replace(server.place, read_again=file)
    store = open_server(place, limits=SMALL)
    try:
        count(store)
        assert file.reads == 0
        file.text = secrets.token_hex(8)
        server.change_password(file.text)
        # Nobody notices: not who reads, not who writes, not who asks in SQL.
        store.apply(*applied(Writes(FIRST + 9).put(a_span(trace_id=new_id()))))
        count(store)
        assert store.select_for_user("SELECT {a:String}", {"a": "x"}).rows == [("x",)]
        store.removal.purge()
        assert file.reads == 1
        # A store that was opened late has the old one from the start.
        open_server(place, limits=SMALL).close()
        # Changed on the server alone: refused, and named.
        server.change_password(secrets.token_hex(8))
        with pytest.raises(TraceStoreUnavailable, match="does not let this user in"):
            count(store)
        with pytest.raises(TraceStoreUnavailable, match="does not let this user in"):
            store.apply(*applied(Writes(FIRST + 10).put(a_span(trace_id=new_id()))))
        # Nor may the file be opened any more.
        file.is_readable = False
        with pytest.raises(TraceStoreUnavailable, match="does not let this user in") as caught:
            count(store)
        assert "Permission denied. Start the server again" in caught.value.advice
        assert file.text not in str(caught.value) + caught.value.advice
    finally:
        server.change_password(PASSWORD)
        store.close()
