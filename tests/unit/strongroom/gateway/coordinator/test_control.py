from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keylease.errors import StorageError
from keylease.strongroom.gateway.coordinator.control import Caller, ControlServer, peer_uid
from keylease.strongroom.gateway.coordinator.log import make_log


async def echo(caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"uid": caller.uid, **arguments}


async def break_down(_caller: Caller, _arguments: dict[str, Any]) -> None:
    raise ZeroDivisionError("sk-test-in-an-exception")


async def count(_caller: Caller, arguments: dict[str, Any]) -> AsyncIterator[int]:
    async def numbers() -> AsyncIterator[int]:
        for number in range(arguments["to"]):
            yield number
            await asyncio.sleep(0)

    return numbers()


def server(path: Path, *, uids: frozenset[int]) -> ControlServer:
    return ControlServer(
        path,
        operations={"echo": echo, "break": break_down},
        streams={"count": count},
        allowed_uids=uids,
        log=make_log(),
    )


@pytest.fixture
def path() -> Path:
    return Path(tempfile.mkdtemp(prefix="kl-")) / "control.sock"


async def ask(path: Path, *lines: bytes, answers: int) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"".join(lines))
    found = [json.loads(await reader.readline()) for _ in range(answers)]
    writer.close()
    await writer.wait_closed()
    return found


async def test_lines_are_answered_in_order(path: Path) -> None:
    control = server(path, uids=frozenset({os.geteuid()}))
    await control.start()
    first, second, third = await ask(
        path,
        b'{"operation": "echo", "arguments": {"a": 1}}\n',
        b'{"operation": "break"}\n',
        b'{"operation": "echo"}\n',
        answers=3,
    )
    assert first["version"] == 1
    assert first["result"] == {"uid": os.geteuid(), "a": 1}
    assert first["error"] is None
    assert second["error"]["code"] == "internal"
    assert "sk-test" not in json.dumps(second)
    assert third["result"] == {"uid": os.geteuid()}
    await control.close()
    assert not await asyncio.to_thread(path.exists)


async def test_a_stream_ends_with_a_last_line(path: Path) -> None:
    control = server(path, uids=frozenset({os.geteuid()}))
    await control.start()
    answers = await ask(path, b'{"operation": "count", "arguments": {"to": 3}}\n', answers=4)
    assert [answer["result"] for answer in answers] == [0, 1, 2, None]
    assert [answer["more"] for answer in answers] == [True, True, True, False]
    await control.close()


async def test_other_users_are_refused(path: Path) -> None:
    control = server(path, uids=frozenset({os.geteuid() + 1}))
    await control.start()
    (answer,) = await ask(path, answers=1)
    assert answer["error"]["code"] == "access_denied"
    await control.close()


async def test_a_socket_that_is_left_over_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    control = server(path, uids=frozenset({os.geteuid()}))
    await control.start()
    assert (await asyncio.to_thread(path.stat)).st_mode & 0o777 == 0o600
    await control.close()


async def test_a_path_that_is_too_long_is_said(tmp_path: Path) -> None:
    control = server(tmp_path / ("x" * 120), uids=frozenset())
    with pytest.raises(StorageError, match="control socket"):
        await control.start()


def test_the_kernel_says_who_it_is() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert peer_uid(left) == os.geteuid()
