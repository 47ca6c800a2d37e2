from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import keyring.backends.chainer
import keyring.backends.fail
import keyring.backends.null
import keyring.errors
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.store_tools import fake_key, opened, reference, versions

from keylease.errors import (
    SecretInvalid,
    SecretNotFound,
    StoreAccessDenied,
    StoreTimedOut,
    StoreUnavailable,
    StoreUnsupported,
)
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.stores import keyring as keyring_store
from keylease.strongroom.stores.keyring import KeyringBackend, KeyringStore, encrypting_backend

WANTED = reference("keyring://keylease/openai")


class Keyring:
    """Stands in for the session's keyring."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def get_password(self, service: str, username: str) -> str | None:
        self.asked.append((service, username))
        if isinstance(self.answer, BaseException):
            raise self.answer
        if isinstance(self.answer, threading.Event):
            self.answer.wait(5)
            return None
        assert self.answer is None or isinstance(self.answer, str)
        return self.answer


@pytest.fixture
def _listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        keyring_store, "ENCRYPTING_BACKENDS", ((Keyring.__module__, Keyring.__qualname__),)
    )


def store(backend: KeyringBackend, *, seconds: float = 5) -> KeyringStore:
    return KeyringStore(
        StoreSettings(attempts=2, timeout_seconds=seconds),
        clock=ManualClock(),
        versions=versions(),
        choose_backend=lambda: backend,
    )


@pytest.mark.usefixtures("_listed")
async def test_reads_service_and_name() -> None:
    value = fake_key()
    backend = Keyring(value)
    fetched = await store(backend).fetch(WANTED)
    assert opened(fetched) == value
    assert backend.asked == [("keylease", "openai")]


@pytest.mark.usefixtures("_listed")
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, SecretNotFound),
        ("", SecretInvalid),
        (keyring.errors.KeyringLocked("locked"), StoreAccessDenied),
        (keyring.errors.InitError("sk-test-in-a-message"), StoreUnavailable),
        (RuntimeError("sk-test-in-a-message"), StoreUnavailable),
    ],
    ids=["nothing", "empty", "locked", "no session", "defect"],
)
async def test_each_failure_has_its_error(answer: object, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        await store(Keyring(answer)).fetch(WANTED)
    assert "sk-test" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.usefixtures("_listed")
async def test_a_keyring_that_hangs_times_out() -> None:
    hold = threading.Event()
    with pytest.raises(StoreTimedOut, match="unlock"):
        await store(Keyring(hold), seconds=0.05).fetch(WANTED)
    hold.set()


class PlaintextKeyring:
    def get_password(self, service: str, username: str) -> str | None:
        raise AssertionError(f"asked for {service} {username}")


@pytest.mark.parametrize(
    "kind",
    [
        keyring.backends.null.Keyring,
        keyring.backends.fail.Keyring,
        keyring.backends.chainer.ChainerBackend,
        PlaintextKeyring,
    ],
    ids=lambda kind: str(kind.__module__),
)
async def test_backends_that_do_not_encrypt_are_refused(
    kind: Callable[[], KeyringBackend],
) -> None:
    with pytest.raises(StoreUnsupported, match="not known to encrypt"):
        await store(kind()).fetch(WANTED)


async def test_no_variable_can_choose_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setattr(keyring_store, "ENCRYPTING_BACKENDS", (("keyring.backends.gone", "K"),))
    with pytest.raises(StoreUnsupported, match="no keyring on this machine"):
        encrypting_backend()


def test_without_the_package_the_advice_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(StoreUnsupported, match=r"keylease\[keyring\]"):
        encrypting_backend()


def test_the_listed_backends_exist() -> None:
    found = [
        module
        for module, name in keyring_store.ENCRYPTING_BACKENDS
        if hasattr(__import__(module, fromlist=[name]), name)
    ]
    assert len(found) == len(keyring_store.ENCRYPTING_BACKENDS)
