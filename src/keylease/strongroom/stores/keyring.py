"""``keyring://service/name``: the keyring of the desktop session (macOS, GNOME, KDE, Windows).

Only backends that encrypt are used, and they are named here. The keyring library's own choice is
not asked: an environment variable or a file in the home directory can make that a plaintext file,
or load a module from anywhere.

Protects: against a silent fallback to a backend that keeps secrets in plain text or nowhere.
Does not protect: against other programs of the same session, which most keyrings let read too.
Limits: needs a session that is unlocked; a server has none.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import ClassVar, Final, Protocol

from keylease.contracts.references import Reference
from keylease.errors import (
    SecretInvalid,
    SecretNotFound,
    StoreAccessDenied,
    StoreError,
    StoreTimedOut,
    StoreUnavailable,
    StoreUnsupported,
)
from keylease.primitives.clock import Clock
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.blocking import BlockingCalls
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.retries import with_retries
from keylease.strongroom.stores.versions import VersionNames

ENCRYPTING_BACKENDS: Final = (
    ("keyring.backends.macOS", "Keyring"),
    ("keyring.backends.Windows", "WinVaultKeyring"),
    ("keyring.backends.SecretService", "Keyring"),
    ("keyring.backends.libsecret", "Keyring"),
    ("keyring.backends.kwallet", "DBusKeyring"),
)
LONGEST_WAIT: Final = 60.0
"""Seconds. A keyring may ask the person at the screen to unlock it."""


class KeyringBackend(Protocol):
    """What is used of the keyring library."""

    def get_password(self, service: str, username: str) -> str | None:
        """The stored text, or None."""
        ...


class KeyringStore:
    """Reads the session's keyring."""

    scheme: ClassVar[str] = "keyring"

    def __init__(
        self,
        settings: StoreSettings,
        *,
        clock: Clock,
        versions: VersionNames,
        choose_backend: Callable[[], KeyringBackend] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._versions = versions
        self._choose_backend = choose_backend or encrypting_backend
        self._calls = BlockingCalls("keyring-store")

    async def fetch(self, reference: Reference) -> FetchedSecret:
        """Ask the keyring."""
        return await with_retries(
            lambda: self._attempt(reference), attempts=self._settings.attempts
        )

    async def close(self) -> None:
        """Nothing is held."""

    async def _attempt(self, reference: Reference) -> FetchedSecret:
        fetched_at = self._clock.now()
        service, _, name = reference.path.partition("/")
        seconds = min(self._settings.timeout_seconds, LONGEST_WAIT)
        try:
            secret = await self._calls.call(lambda: self._ask(service, name), seconds=seconds)
        except TimeoutError:
            raise StoreTimedOut(
                f"The keyring did not answer in {seconds:g} seconds.",
                advice="It may be waiting for somebody to unlock it.",
            ) from None
        version = self._versions.name(reference, secret)
        return FetchedSecret(secret=secret, version=version, fetched_at=fetched_at)

    def _ask(self, service: str, name: str) -> Secret:
        backend = refuse_unsafe(self._choose_backend())
        try:
            value = backend.get_password(service, name)
        except Exception as error:  # noqa: BLE001 - backends raise errors of D-Bus, ctypes, Windows
            # Only the type's name is kept: the text of a foreign error may quote what was read.
            failure = _explained(type(error).__name__)
        else:
            if value is None:
                raise SecretNotFound(
                    f"The keyring has nothing named {name} for the service {service}.",
                    advice=f"`python -m keyring set {service} {name}` stores it.",
                )
            if not value:
                raise SecretInvalid(
                    f"The keyring's entry {name} of {service} is empty.",
                    advice=f"`python -m keyring set {service} {name}` stores it.",
                )
            return Secret(value)
        raise failure


def encrypting_backend() -> KeyringBackend:
    """The best backend of the list that works in this session. Raises ``StoreUnsupported``."""
    try:
        importlib.import_module("keyring")
    except ImportError:
        raise StoreUnsupported(
            "keyring:// references need the keyring package.",
            advice="Install it: pip install 'keylease[keyring]'.",
        ) from None
    for module_name, class_name in ENCRYPTING_BACKENDS:
        try:
            kind = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError):
            continue  # made for another operating system
        if kind.viable:
            backend: KeyringBackend = kind()
            return backend
    raise StoreUnsupported(
        "There is no keyring on this machine that encrypts.",
        advice="Use another store, such as sealed://. Plaintext keyrings are never used.",
    )


def refuse_unsafe(backend: KeyringBackend) -> KeyringBackend:
    """Give ``backend`` back if it is on the list; raises ``StoreUnsupported`` otherwise."""
    kind = type(backend)
    if (kind.__module__, kind.__qualname__) not in ENCRYPTING_BACKENDS:
        raise StoreUnsupported(
            f"The keyring backend {kind.__module__}.{kind.__qualname__} is not known to encrypt.",
            advice="Use another store, such as sealed://. Plaintext keyrings are never used.",
        )
    return backend


def _explained(kind: str) -> StoreError:
    if kind in {"KeyringLocked", "PromptDismissedException", "LockedException"}:
        return StoreAccessDenied(
            "The keyring is locked.", advice="Unlock it in your desktop session."
        )
    return StoreUnavailable(
        f"The keyring failed ({kind}).", advice="Check that the session's keyring is running."
    )
