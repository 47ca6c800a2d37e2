"""Addresses of a ClickHouse server: what they say, and what none of them may say."""

from __future__ import annotations

import pickle
import secrets

import pytest

from keylease.errors import ConfigurationError
from keylease.platform.traces.store.address import (
    ServerAddress,
    StorePassword,
    check_cluster,
    server_address,
)


@pytest.mark.parametrize(
    ("text", "port", "scheme"),
    [
        ("clickhouse://ada@db.example", 8443, "https"),
        ("clickhouse://ada@db.example:8443/keylease", 8443, "https"),
        ("clickhouse://ada@db.example:443/", 443, "https"),
        ("clickhouse://ada@db.example:9123/?secure=true", 9123, "https"),
        ("clickhouse://ada@db.example:8123/?secure=false", 8123, "http"),
        ("clickhouse://ada@db.example/?secure=false", 8123, "http"),
        ("clickhouse://ada@localhost", 8123, "http"),
        ("clickhouse://ada@127.0.0.1:8443", 8443, "https"),
        ("clickhouse://ada@[::1]:9000", 9000, "http"),
        ("https://ada@db.example:9440/keylease", 9440, "https"),
        ("https://ada@db.example?secure=true", 8443, "https"),
        ("https://ada@localhost", 8443, "https"),
    ],
)
def test_spans_leave_the_machine_by_tls_unless_it_says_otherwise(
    text: str, port: int, scheme: str
) -> None:
    found = server_address(text)
    assert (found.port, found.secure, found.database) == (port, scheme == "https", "keylease")
    assert found.unprotected == ("secure=false" in text)


def test_everything_that_an_address_may_say() -> None:
    text = "clickhouse://a%40b@db.example:9440/spans_of_acme?secure=true&ca_cert=/etc/ca.pem"
    assert server_address(text) == ServerAddress(
        host="db.example", port=9440, user="a@b", database="spans_of_acme", secure=True,
        ca_file="/etc/ca.pem",
    )  # fmt: skip
    assert (
        str(server_address("clickhouse://ada@[::1]:9000")) == "clickhouse://ada@[::1]:9000/keylease"
    )


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    secret = secrets.token_hex(12)
    for text in (
        f"clickhouse://ada:{secret}@db.example",
        f"clickhouse://ada:@db.example/{secret}",
        f"clickhouse://ada@db.example?password={secret}",
        f"clickhouse://ada@db.example?access_token={secret}",
    ):
        with pytest.raises(ConfigurationError, match="contains a password") as caught:
            server_address(text)
        assert secret not in str(caught.value) + caught.value.advice
        assert "trace_store_password_file" in caught.value.advice


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("db.example", "not understood"),
        ("http://ada@db.example", "not understood"),
        ("clickhouse://db.example", "not understood"),
        ("clickhouse://ada@", "not understood"),
        ("clickhouse://ada@db.example:port", "not understood"),
        ("clickhouse://ada@db.example#x", "not understood"),
        ("clickhouse://ada@[::1", "not understood"),
        ("clickhouse://ada@db.example:8123", "whether TLS"),
        ("clickhouse://ada@db.example?secure=perhaps", "secure=true or secure=false"),
        ("https://ada@db.example?secure=false", "says secure=false"),
        ("clickhouse://ada@db.example?verify=false", "nothing else"),
        ("clickhouse://ada@db.example?ca_cert=ca.pem", "begin at the root"),
        ("clickhouse://ada@db.example/a`b", "letters, digits"),
        ("clickhouse://ada@db.example/a/b", "letters, digits"),
    ],
)
def test_what_is_no_address_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        server_address(text)
    assert caught.value.exit_status == 64
    assert caught.value.advice


def test_a_cluster_has_a_plain_name() -> None:
    check_cluster("")
    check_cluster("all_nodes")
    with pytest.raises(ConfigurationError, match="cluster"):
        check_cluster("a b")


def test_a_password_is_not_shown() -> None:
    text = secrets.token_hex(8)
    password = StorePassword(text)
    assert text not in f"{password} {password!r} {[password]}"
    assert password.reveal(why="a test") == text
    with pytest.raises(ValueError, match="reason"):
        password.reveal(why="")
    with pytest.raises(TypeError):
        pickle.dumps(password)
