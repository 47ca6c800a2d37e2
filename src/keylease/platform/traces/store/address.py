"""Where a ClickHouse server is, and how one signs in there.

    clickhouse://USER@HOST[:PORT]/[DATABASE][?secure=true|false][&ca_cert=/path]
    https://USER@HOST[:PORT]/[DATABASE][?ca_cert=/path]      the same with secure=true

Protects: the password stands in a file of its own; an address with one in it is refused, because
    addresses are seen in lists of processes. Spans leave this machine by TLS unless the address
    says ``secure=false``. Nothing else of the client can be set by an address.
Does not protect: what the server keeps; whoever may read its tables reads all organizations' spans.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from keylease.errors import ConfigurationError

DEFAULT_DATABASE: Final = "keylease"
_SCHEME: Final = "clickhouse"
_TLS_SCHEME: Final = "https"
_TLS_PORTS: Final = frozenset({443, 8443})
_PORT: Final = 8123
_TLS_PORT: Final = 8443
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MEMBERS: Final = frozenset({"secure", "ca_cert"})
_PASSWORDS: Final = frozenset({"password", "passwd", "pwd", "access_token", "token"})
_SECURE: Final = {"true": True, "false": False}
_FORM: Final = "Write it as clickhouse://user@host:8443/keylease."


class ServerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A ClickHouse server, and the database with our tables."""

    host: str
    port: int
    user: str
    database: str = DEFAULT_DATABASE
    secure: bool
    ca_file: str = ""
    """Certificates that vouch for the server; empty is the system's."""

    def __str__(self) -> str:
        return f"{_SCHEME}://{self.user}@{self.authority}/{self.database}"

    @property
    def authority(self) -> str:
        """Host and port as addresses write them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def unprotected(self) -> bool:
        """Spans and the password cross a network as they are."""
        return not self.secure and not _is_loopback(self.host)


class StorePassword:
    """The password of the trace store's user. Printing it gives stars; it is not pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self, *, why: str) -> str:
        """Give it; ``why`` names the use, for the reader of the calling code."""
        if not why:
            raise ValueError("a password was opened without a reason")
        return self._text

    def __repr__(self) -> str:
        return "StorePassword(********)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("A password is not pickled.")


class StoreServer(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is needed to open the store there."""

    address: ServerAddress
    password: StorePassword = StorePassword("")
    password_file: str = ""
    """Where the password came from."""
    read_again: Callable[[], StorePassword] | None = None
    """Gives what the file holds now. Raises ``ConfigurationError``."""
    cluster: str = ""


def server_address(text: str) -> ServerAddress:
    """Read an address. Raises ``ConfigurationError``, whose message repeats nothing of it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _refused("is not understood") from None
    members = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.password is not None or _PASSWORDS & members.keys():
        raise _refused(
            "contains a password, which would be seen in the list of processes",
            advice="Put it into a file of mode 0600, and name that as trace_store_password_file.",
        )
    if parts.scheme not in {_SCHEME, _TLS_SCHEME}:
        raise _refused("is not understood")
    if not parts.hostname or not parts.username or parts.fragment:
        raise _refused("is not understood")
    if members.keys() - _MEMBERS:
        raise _refused("may set secure and ca_cert, and nothing else")
    ca_file = members.get("ca_cert", "")
    if ca_file and not ca_file.startswith("/"):
        raise _refused("names certificates by a path that does not begin at the root")
    if parts.scheme == _TLS_SCHEME and members.setdefault("secure", "true") != "true":
        raise _refused("begins with https:// and says secure=false")
    secure = _secure(parts.hostname, port, members.get("secure"))
    return ServerAddress(
        host=parts.hostname,
        port=port or (_TLS_PORT if secure else _PORT),
        user=unquote(parts.username),
        database=_database(parts.path),
        secure=secure,
        ca_file=ca_file,
    )


def _secure(host: str, port: int | None, said: str | None) -> bool:
    if said is not None:
        try:
            return _SECURE[said]
        except KeyError:
            raise _refused("says secure=true or secure=false") from None
    if port in _TLS_PORTS or _is_loopback(host):
        return port in _TLS_PORTS
    if port is None:
        return True
    raise _refused(
        "does not say whether TLS is spoken at this port",
        advice="Add ?secure=true, or ?secure=false where nobody else is on the network.",
    )


def _database(path: str) -> str:
    name = path.strip("/")
    if not name:
        return DEFAULT_DATABASE
    if not _NAME.fullmatch(name):
        raise _refused("names a database that has not only letters, digits and underscores")
    return name


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refused(what: str, *, advice: str = _FORM) -> ConfigurationError:
    return ConfigurationError(f"The address of the trace store {what}.", advice=advice)


def check_cluster(name: str) -> None:
    """Raise ``ConfigurationError`` for what is no name of a cluster."""
    if name and not _NAME.fullmatch(name):
        raise ConfigurationError(
            "The cluster of the trace store has a name of letters, digits and underscores.",
            advice="It stands in the configuration of the ClickHouse servers, <remote_servers>.",
        )
