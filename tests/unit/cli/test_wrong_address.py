"""An address at which something else than the platform answers, such as a gateway's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.plain_server import http, plain_server

from keylease.cli.main import main

PATHS = ("/v1/traces", "/v1/projects", "/v1/vendors", "/v1/device/authorizations")
A_GATEWAYS: dict[str, object] = {
    "error": "path_not_found",
    "error_description": "There is nothing at this path.",
}


@pytest.mark.parametrize("arguments", [["vendor", "list"], ["login"]])
async def test_a_gateway_in_the_place_of_the_platform_is_said(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KEYLEASE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("KEYLEASE_API_KEY", "kl_test")
    async with plain_server() as gateway:
        for path in PATHS:
            gateway.answers[path] = http(A_GATEWAYS, status="404 Not Found")
        status = await asyncio.to_thread(main, [*arguments, "--server", gateway.url])
    assert status == 69
    said = capsys.readouterr().err
    assert f"{gateway.url} does not answer as the platform does." in said
    assert "not a gateway's" in said
