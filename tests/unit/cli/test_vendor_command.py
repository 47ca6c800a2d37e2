"""`keylease vendor`: what it says when there is nothing to list."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from keylease.cli import vendor
from keylease.cli.main import main
from keylease.cli.platform_connection import Answer


class _Nobody:
    def ask(self, method: str, path: str) -> Answer:
        assert (method, path) == ("GET", "/v1/vendors")
        return Answer(200, [], "")


@contextlib.contextmanager
def _connected(*_: object) -> Iterator[_Nobody]:
    yield _Nobody()


def test_no_vendor_is_said_and_is_no_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vendor, "connected", _connected)
    assert main(["vendor", "list"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("No vendor is known.\nhint: ")
