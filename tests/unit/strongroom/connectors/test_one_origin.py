"""A connector's credential goes to the origin that code or gateway.toml names, whatever is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.manual_clock import ManualClock

from keylease.strongroom.connectors import session as session_module
from keylease.strongroom.connectors.listing import report_of
from keylease.strongroom.connectors.registry import SYSTEMS, connector_of
from keylease.strongroom.connectors.session import Session
from keylease.strongroom.secrets import Secret

ORIGIN = "https://keeper.example"
HOSTILE = [
    "https://evil.example/next",
    "//evil.example/next",
    ".evil.example/next",
    "@evil.example/next",
    "evil.example",
    ":9/next",
    "\\\\evil.example/next",
    "/\\evil.example",
    "//keeper.example:8443@evil.example/",
    "https://keeper.example:8443@evil.example/x",
    "https://keeper.example:8443.evil.example/x",
    "https://keeper.example/x",
    "http://keeper.example:8443/x",
    "https:/evil.example/x",
    "https:\\\\evil.example",
    "javascript:alert(1)",
    "/%2e%2e/../..//evil.example",
    "/\t/evil.example",
    "?page=2",
    "#x",
    "",
]


Headers = list[tuple[bytes, bytes]]


class Keeper(httpx.AsyncBaseTransport):
    """Gives the same answer to everything, and notes where each request goes."""

    def __init__(self, status: int, body: Any, headers: Headers) -> None:  # noqa: ANN401 - JSON
        self.asked: list[httpx.URL] = []
        self._made = (status, body, headers)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url)
        status, body, headers = self._made
        if len(self.asked) > 20:
            return httpx.Response(401)
        return httpx.Response(status, json=body, headers=headers)


async def at_once(_: float) -> None:
    return None


def with_client(keeper: Keeper, **options: Any) -> httpx.AsyncClient:  # noqa: ANN401 - as httpx's
    return httpx.AsyncClient(transport=keeper, headers=options["headers"], trust_env=False)


async def list_all(system: str, keeper: Keeper) -> None:
    connector = connector_of(system)
    # A client without TLS of its own: making one takes longer than all else here.
    with patch.object(session_module, "guarded_client", partial(with_client, keeper)):
        session = Session(
            system=connector.title,
            origin=ORIGIN,
            headers=connector.authentication(Secret(b"public:secret")),
            sleep=at_once,
        )
    try:
        found: AsyncIterator[Any] = connector.inventory(session, "acme", values=False)
        await report_of(connector, "acme", found, keys=None, clock=ManualClock())
    finally:
        await session.close()
    for url in keeper.asked:
        assert (url.scheme, url.host, url.port) == ("https", "keeper.example", None), url
        assert not url.userinfo


@given(link=st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="latin-1"))))
@example(link=".evil.example/next")
@example(link="@evil.example/next")
async def test_a_link_to_the_next_page_leads_nowhere_else(link: str) -> None:
    safe = link.replace("\r", "").replace("\n", "")
    headers = [(b"Link", f'<{safe}>; rel="next"'.encode("latin-1"))]
    for system in ("github", "gitlab"):
        keeper = Keeper(200, {"secrets": [], "environments": []}, headers)
        await list_all(system, keeper)
        assert keeper.asked


@pytest.mark.parametrize("name", [*HOSTILE, "../../evil", "a/../../b", "..", "\x00", "a b/c?d#e"])
@pytest.mark.parametrize("system", [kind.system for kind in SYSTEMS if kind.system != "aws-sm"])
async def test_a_name_that_a_system_gives_leads_nowhere_else(system: str, name: str) -> None:
    members = ("id", "name", "full_name", "path_with_namespace", "full_path", "path", "key")
    item = dict.fromkeys(members, name)
    lists = ("projects", "secrets", "environments", "objects", "data", "keys", "credentials")
    await list_all(system, Keeper(200, {**item, **{one: [item] for one in lists}}, []))
    await list_all(system, Keeper(200, [item], []))
    mount = {"path": "acme/", "type": "kv", "options": {"version": "2"}, "keys": [name, f"{name}/"]}
    await list_all(system, Keeper(200, {"data": mount, "pagination": {"next": name}}, []))
