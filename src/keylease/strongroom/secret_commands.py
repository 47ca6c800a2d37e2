"""The strongroom's side of ``keylease secret``: what may see the bytes.

    main("secret-put", ["--gateway-file", ..., "--data-dir", ..., "NAME"])

The command line's own process only starts this one and hands its terminal or standard input over.
stdout gets data, stderr gets talk; neither ever gets a secret.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from keylease.contracts.catalogue import CATALOGUE
from keylease.contracts.references import Reference
from keylease.errors import SealedStoreError, SecretInvalid, SettingsInvalid
from keylease.primitives.clock import Clock, SystemClock, isoformat
from keylease.strongroom.config_files.gateway_file import load_gateway
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores import env, secret_input
from keylease.strongroom.stores.provider_keys import provider_key
from keylease.strongroom.stores.registry import build_stores, default_key_file, environment_names
from keylease.strongroom.stores.sealed import FILE_NAME, SealedStore, locked_by_passphrase
from keylease.strongroom.stores.sealing_key import (
    LONGEST_PASSPHRASE,
    KeyFile,
    KeySource,
    Passphrase,
)

_HOST: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_LENGTH_CLASSES: Final = (
    (16, "under 16 characters: short for a provider key"),
    (40, "16 to 39 characters"),
    (80, "40 to 79 characters"),
    (200, "80 to 199 characters"),
)
_LONGEST_CLASS: Final = "200 characters or more"


def main(command: str, arguments: Sequence[str], *, clock: Clock | None = None) -> int:
    """Run one command; gives the exit status. Raises ``KeyleaseError``."""
    options = _parser(command).parse_args(arguments)
    return _COMMANDS[command](options, clock or SystemClock())


# --- the commands --------------------------------------------------------------------------


def _put(options: argparse.Namespace, clock: Clock) -> int:
    provider, hosts = checked_binding(options.provider, options.host)
    store = _store(options, clock)
    # Before asking for the secret: nobody should paste a key only to be told this.
    store.check_name(options.name, replace=options.replace)
    secret = secret_input.read_secret(f"Secret for {options.name} (not shown)")
    try:
        info = store.put(
            options.name, secret, provider=provider, hosts=hosts, replace=options.replace
        )
    finally:
        secret.wipe()
    bound = f", bound to {provider} at {', '.join(hosts)}" if provider else ""
    _say(f"Stored sealed://{info.name}{bound}.")
    return 0


def _list(options: argparse.Namespace, clock: Clock) -> int:
    entries = _store(options, clock).entries()
    if options.json:
        _data(msgspec.json.encode(entries).decode())
        return 0
    if not entries:
        _say("There is no sealed secret yet. `keylease secret put NAME` makes one.")
        return 0
    rows = [
        (
            entry.name,
            isoformat(entry.created_at),
            entry.provider or "-",
            ",".join(entry.hosts) or "-",
        )
        for entry in entries
    ]
    for line in _table((("NAME", "STORED", "PROVIDER", "HOSTS"), *rows)):
        _data(line)
    return 0


def _remove(options: argparse.Namespace, clock: Clock) -> int:
    _store(options, clock).remove(options.name)
    _say(f"Removed sealed://{options.name}. Revoke the key at its provider if it is not needed.")
    return 0


def _check(options: argparse.Namespace, clock: Clock) -> int:
    reference = Reference.parse(options.name)
    result = asyncio.run(_checked_fetch(options, reference, clock))
    if options.json:
        _data(msgspec.json.encode(result).decode())
    else:
        _data(f"reference  {result['reference']}")
        _data(f"version    {result['version']}")
        _data(f"fetched    in {result['milliseconds']} ms")
        _data(f"length     {result['length']}")
    return 0


async def _checked_fetch(
    options: argparse.Namespace, reference: Reference, clock: Clock
) -> dict[str, str | int]:
    settings = _settings(options)
    names = set(environment_names(settings))
    if reference.scheme == "env":
        names.add(reference.path)
    path = options.data_dir / "strongroom" / FILE_NAME
    registry = build_stores(
        settings,
        data_directory=options.data_dir,
        environment=env.receive(env.handover(names)),
        clock=clock,
        config_directory=options.gateway_file.parent,
        key_source=_key_source(options, settings, path) if reference.scheme == "sealed" else None,
    )
    began = clock.monotonic()
    try:
        fetched = await registry.fetch(reference)
        milliseconds = round((clock.monotonic() - began) * 1000)
        for sentence in registry.posture():
            _say(f"warning: {sentence}")
        try:
            provider_key(fetched.secret, why="see that it can be a provider key")
        except SecretInvalid as error:
            _say(f"warning: {error.message} {error.advice}")
        return {
            "reference": str(reference),
            "version": fetched.version,
            "fetched_at": isoformat(fetched.fetched_at),
            "milliseconds": milliseconds,
            "length": length_class(fetched.secret),
        }
    finally:
        await registry.close()


def _rekey(options: argparse.Namespace, clock: Clock) -> int:
    store = _store(options, clock)
    if options.new_passphrase or options.new_passphrase_fd is not None:
        passphrase = _new_passphrase(options.new_passphrase_fd)
        store.rekey(Passphrase(passphrase))
        _say("The sealed store is now locked by the passphrase.")
        _say("hint: Set passphrase_file under [stores.sealed] in gateway.toml.")
        return 0
    path = options.new_key_file or _key_file_path(options, _settings(options))
    store.rekey(KeyFile(path, data_directory=options.data_dir))
    _say(f"The sealed store is now locked by {path}.")
    if options.new_key_file:
        _say("hint: Set key_file under [stores.sealed] in gateway.toml to this file.")
    _say("hint: Copies of the store from before are still opened by the old key.")
    return 0


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace, Clock], int]]] = {
    "secret-put": _put,
    "secret-list": _list,
    "secret-remove": _remove,
    "secret-check": _check,
    "secret-rekey": _rekey,
}


# --- what they share -----------------------------------------------------------------------


def checked_binding(provider: str, hosts: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The provider and hosts that an entry is bound to. Raises ``SettingsInvalid``.

    Without ``--host`` it is the catalogue's host of the provider.
    """
    for host in hosts:
        if not _is_host(host):
            raise SettingsInvalid(
                "--host is not the name of a host.",
                advice="Write it like api.example.com: no scheme, port or path, in lower case.",
            )
    if not provider:
        if hosts:
            raise SettingsInvalid("--host needs --provider.", advice="Add --provider PROVIDER.")
        return "", ()
    entry = CATALOGUE.get(provider)
    if entry is None:
        raise SettingsInvalid(
            "--provider is not a provider that Keylease knows.",
            advice=f"Use one of: {', '.join(CATALOGUE)}.",
        )
    if hosts:
        return provider, tuple(dict.fromkeys(hosts))
    own = urlsplit(entry.base_url).hostname
    if not own:
        raise SettingsInvalid(
            f"The provider {provider} has no host of its own.",
            advice="Name the host the key is for with --host.",
        )
    return provider, (own,)


def length_class(secret: Secret) -> str:
    """About how long a secret is: enough to see a truncated one, too little to help a guess."""
    for bound, words in _LENGTH_CLASSES:
        if len(secret) < bound:
            return words
    return _LONGEST_CLASS


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Aligned columns. Names, providers and hosts of the store are plain: nothing is escaped."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _settings(options: argparse.Namespace) -> StoreSettings:
    if not options.gateway_file.exists():
        return StoreSettings()  # before the first start: the defaults, as gateway.toml would have
    return load_gateway(options.gateway_file).stores


def _store(options: argparse.Namespace, clock: Clock) -> SealedStore:
    settings = _settings(options)
    path = options.data_dir / "strongroom" / FILE_NAME
    return SealedStore(path, key_source=_key_source(options, settings, path), clock=clock)


def _key_source(options: argparse.Namespace, settings: StoreSettings, path: Path) -> KeySource:
    """In this order: a descriptor, the configured file, the terminal, the key file."""
    if options.passphrase_fd is not None:
        return Passphrase(_from_descriptor(options.passphrase_fd))
    if settings.sealed_passphrase_file:
        return Passphrase.from_file(Path(settings.sealed_passphrase_file))
    if locked_by_passphrase(path):
        return Passphrase(secret_input.ask_passphrase("Passphrase of the sealed store"))
    return KeyFile(_key_file_path(options, settings), data_directory=options.data_dir)


def _key_file_path(options: argparse.Namespace, settings: StoreSettings) -> Path:
    if settings.sealed_key_file:
        return Path(settings.sealed_key_file)
    return default_key_file(options.gateway_file.parent)


def _new_passphrase(descriptor: int | None) -> Secret:
    if descriptor is not None:
        return _from_descriptor(descriptor)
    first = secret_input.ask_passphrase("New passphrase")
    if not first.equals(secret_input.ask_passphrase("The same again")):
        raise SealedStoreError("The two passphrases differ.", advice="Nothing was changed.")
    return first


def _from_descriptor(descriptor: int) -> Secret:
    try:
        return Secret(secret_input.read_pipe(descriptor, maximum=LONGEST_PASSPHRASE))
    except OSError as error:
        raise SealedStoreError(
            f"The passphrase cannot be read from descriptor {descriptor}: {error.strerror}.",
            advice="Open it for reading where keylease is started, such as `5</run/passphrase`.",
        ) from None


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return len(host) <= 253 and _HOST.fullmatch(host) is not None  # noqa: PLR2004 - RFC 1035
    return True


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=command, allow_abbrev=False, exit_on_error=True)
    parser.add_argument("--gateway-file", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--passphrase-fd", type=int)
    if command in {"secret-put", "secret-remove", "secret-check"}:
        parser.add_argument("name")
    if command in {"secret-list", "secret-check"}:
        parser.add_argument("--json", action="store_true")
    if command == "secret-put":
        parser.add_argument("--provider", default="")
        parser.add_argument("--host", action="append", default=[])
        parser.add_argument("--replace", action="store_true")
    if command == "secret-rekey":
        parser.add_argument("--new-key-file", type=Path)
        parser.add_argument("--new-passphrase", action="store_true")
        parser.add_argument("--new-passphrase-fd", type=int)
    return parser


def _data(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
