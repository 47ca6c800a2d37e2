"""Every store behind one ``fetch``."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Final

from keylease.contracts.references import Reference
from keylease.errors import BindingMissing, SecretInvalid, StoreTimedOut, StoreUnsupported
from keylease.primitives.clock import Clock
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.aws_sm import SECRET_VARIABLES, AwsSecretsManagerStore
from keylease.strongroom.stores.blocking import BlockingCalls
from keylease.strongroom.stores.env import EnvironmentStore
from keylease.strongroom.stores.file import FileStore
from keylease.strongroom.stores.interfaces import FetchedSecret, SecretStore
from keylease.strongroom.stores.keyring import KeyringStore
from keylease.strongroom.stores.posture import Posture
from keylease.strongroom.stores.sealed import FILE_NAME, SealedStore
from keylease.strongroom.stores.sealing_key import KEY_FILE_NAME, KeyFile, KeySource, Passphrase
from keylease.strongroom.stores.vault import VaultStore
from keylease.strongroom.stores.vault_auth import TOKEN_VARIABLE
from keylease.strongroom.stores.versions import VersionNames

LARGEST_SECRET: Final = 64 * 1024


Signature = tuple[int, ...] | None
Signer = Callable[[Reference], Signature]
"""Tells cheaply whether a secret has changed. May block for a moment."""


class StoreRegistry:
    """Sends each reference to the store of its scheme."""

    def __init__(
        self,
        stores: tuple[SecretStore, ...],
        *,
        sealed: SealedStore,
        signers: Mapping[str, Signer],
        posture: Posture,
    ) -> None:
        self._stores = {store.scheme: store for store in stores}
        self._signers = dict(signers)
        self._posture = posture
        self._looks = BlockingCalls("store-signature")
        self.sealed = sealed
        """The embedded store, for those who write to it."""

    async def fetch(self, reference: Reference) -> FetchedSecret:
        """Ask the reference's store. Raises ``StoreError``."""
        store = self._stores.get(reference.scheme)
        if store is None:
            raise StoreUnsupported(
                f"There is no store for {reference.scheme}:// references.",
                advice=f"There are stores for {', '.join(sorted(self._stores))}.",
            )
        fetched = await store.fetch(reference)
        if not 0 < len(fetched.secret) <= LARGEST_SECRET:
            raise SecretInvalid(
                f"The secret at {reference} is empty or over {LARGEST_SECRET} bytes.",
                advice="Check what was stored there.",
            )
        return fetched

    async def signature(self, reference: Reference) -> Signature:
        """What changes when the secret does, where the store is a local file; else ``None``."""
        signer = self._signers.get(reference.scheme)
        if signer is None:
            return None
        try:
            return await self._looks.call(functools.partial(signer, reference), seconds=1.0)
        except TimeoutError:
            return None

    async def require_recorded_binding(
        self, reference: Reference, *, provider: str, host: str
    ) -> None:
        """Refuse to send a sealed secret elsewhere than it was sealed for.

        Raises ``BindingMissing`` when the entry was recorded with another provider or without this
        host, and the store's ``StoreError``. Returns at once for the other stores, and for entries
        that were recorded without a provider. Ask before each fetch for a credential: it also
        keeps Keylease's own sealed keys from being used as one.
        """
        if reference.scheme != self.sealed.scheme:
            return
        seconds = 5.0
        try:
            recorded = await self._looks.call(
                functools.partial(self.sealed.describe, reference.path), seconds=seconds
            )
        except TimeoutError:
            raise StoreTimedOut(
                f"The sealed store could not be read in {seconds:g} seconds.",
                advice="Check the disk that holds the data directory.",
            ) from None
        if not recorded.provider:
            return
        if recorded.provider != provider or host not in recorded.hosts:
            allowed = ", ".join(recorded.hosts) or "no host"
            raise BindingMissing(
                f"{reference} was sealed for {recorded.provider} at {allowed},"
                f" not for {provider} at {host}.",
                advice="Put the secret again with the right --provider and --host, or mend the"
                " credential in the policy.",
            )

    def posture(self) -> tuple[str, ...]:
        """What is weaker than it could be, in words."""
        return self._posture.sentences()

    async def close(self) -> None:
        """Close every store, each whatever happens to the others."""
        results = await asyncio.gather(
            *(store.close() for store in self._stores.values()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result


def build_stores(
    settings: StoreSettings,
    *,
    data_directory: Path,
    environment: Mapping[str, Secret],
    clock: Clock,
    config_directory: Path | None = None,
    key_source: KeySource | None = None,
) -> StoreRegistry:
    """Make the stores; nothing is contacted yet. Raises ``StoreError`` or ``StorageError``.

    ``data_directory`` is the product's (``~/.keylease``). ``environment`` is what ``env.receive``
    gave. ``config_directory`` is where the key of the sealed store lies by default;
    ``key_source`` opens that store otherwise than ``settings`` says.
    """
    strongroom = data_directory / "strongroom"
    posture = Posture()
    versions = VersionNames.load(strongroom, random_bytes=os.urandom(32))
    sealed = SealedStore(
        strongroom / FILE_NAME,
        key_source=key_source or _key_source(settings, data_directory, config_directory),
        clock=clock,
        timeout_seconds=settings.timeout_seconds,
    )
    files = FileStore(settings, clock=clock, versions=versions, posture=posture)
    stores: list[SecretStore] = [
        EnvironmentStore(environment, clock=clock, versions=versions),
        files,
        sealed,
        KeyringStore(settings, clock=clock, versions=versions),
        AwsSecretsManagerStore(settings, clock=clock, environment=environment),
    ]
    if settings.vault_address:
        vault = VaultStore(
            settings, clock=clock, versions=versions, posture=posture, environment=environment
        )
        stores.append(vault)
    else:
        stores.append(_VaultNotConfigured())
    signers = {files.scheme: files.signature, sealed.scheme: sealed.signature}
    return StoreRegistry(tuple(stores), sealed=sealed, signers=signers, posture=posture)


def environment_names(settings: StoreSettings) -> tuple[str, ...]:
    """The variables that the stores may need handed over, beside those of ``env://`` references."""
    names: tuple[str, ...] = SECRET_VARIABLES
    if settings.vault_address and settings.vault_auth == "token" and not settings.vault_token_file:
        names += (TOKEN_VARIABLE,)
    return names


def default_key_file(config_directory: Path | None) -> Path:
    """Where the key of the sealed store lies unless gateway.toml says otherwise."""
    directory = config_directory or Path("~/.config/keylease").expanduser()
    return directory / KEY_FILE_NAME


def _key_source(
    settings: StoreSettings, data_directory: Path, config_directory: Path | None
) -> KeySource:
    if settings.sealed_passphrase_file:
        return Passphrase.from_file(Path(settings.sealed_passphrase_file))
    path = Path(settings.sealed_key_file) if settings.sealed_key_file else None
    return KeyFile(path or default_key_file(config_directory), data_directory=data_directory)


class _VaultNotConfigured:
    scheme: ClassVar[str] = "vault"

    async def fetch(self, reference: Reference) -> FetchedSecret:
        raise StoreUnsupported(
            f"The reference {reference} needs the address of Vault or OpenBao.",
            advice="Set address under [stores.vault] in gateway.toml.",
        )

    async def close(self) -> None:
        return
