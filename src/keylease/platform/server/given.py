"""Small secrets that an operator gives to the platform in files.

They are read before the process gives up its rights, and are in memory only afterwards.

Protects: the files stay the operator's own. The platform's user need not read them, and none of
    them lies in the platform's directory or in a back-up of it. After the start the process could
    not open them any more, but for the password's, if its user may read that. A file that others
    can read is refused.
Does not protect: whoever runs code in the platform's process while it runs has them.
Limits: a rotated fingerprint key is taken up by the next start. A changed password is read again
    when the server refuses the old one, where the platform's user may open the file and it was
    written in place: Landlock lets through the file that was there, not another of its name.

What they are: the password of the trace store's user, and the fingerprint keys of organizations.
None of them opens a provider.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from keylease.errors import ConfigurationError, FingerprintKeyInvalid
from keylease.platform.server.configuration import ServerConfiguration
from keylease.platform.traces.store.address import (
    StorePassword,
    StoreServer,
    check_cluster,
    server_address,
)
from keylease.primitives.files import read_bounded
from keylease.primitives.fingerprints import FingerprintKeys, read_keys

_LONGEST_PASSWORD: Final = 1024
_OTHERS: Final = 0o077


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What was given."""

    trace_store: StoreServer | None = None
    """``None`` is the embedded engine."""
    fingerprint_keys: Mapping[str, FingerprintKeys] = {}
    """By organization; "" is the one that the installation began with."""


def read_given(configuration: ServerConfiguration) -> Given:
    """Read the files. Raises ``ConfigurationError`` with what is wrong with one."""
    return Given(
        trace_store=_trace_store(configuration),
        fingerprint_keys=_fingerprint_keys(configuration.trace_fingerprint_keys),
    )


def _trace_store(configuration: ServerConfiguration) -> StoreServer | None:
    check_cluster(configuration.trace_store_cluster)
    if not configuration.trace_store_url:
        if configuration.trace_store_cluster or configuration.trace_store_password_file:
            raise ConfigurationError(
                "A cluster or a password of a trace store is set, and no trace_store_url.",
                advice="Name the ClickHouse server, or take the others out.",
            )
        return None
    return StoreServer(
        address=server_address(configuration.trace_store_url),
        password=_password(configuration.trace_store_password_file),
        password_file=configuration.trace_store_password_file,
        read_again=partial(_password, configuration.trace_store_password_file)
        if configuration.trace_store_password_file
        else None,
        cluster=configuration.trace_store_cluster,
    )


def _password(file: str) -> StorePassword:
    if not file:
        return StorePassword("")
    path = Path(file)
    try:
        mode = path.stat().st_mode
        content = read_bounded(path, maximum=_LONGEST_PASSWORD)
    except OSError as error:
        raise ConfigurationError(
            f"The trace store's password file {path} cannot be read: "
            f"{os.strerror(error.errno or 0)}.",
            advice="It is named by trace_store_password_file.",
        ) from None
    if mode & _OTHERS:
        raise ConfigurationError(
            f"The trace store's password file {path} can be read by others.",
            advice=f"chmod 600 {path}",
        )
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text or len(content) > _LONGEST_PASSWORD:
        raise ConfigurationError(
            f"The trace store's password file {path} does not hold one line of text.",
            advice="Write the password into it and nothing else.",
        )
    return StorePassword(text)


def _fingerprint_keys(files: Mapping[str, str]) -> dict[str, FingerprintKeys]:
    found: dict[str, FingerprintKeys] = {}
    for organization, file in files.items():
        try:
            keys = read_keys(Path(file))
        except FileNotFoundError:
            raise FingerprintKeyInvalid(
                f"There is no fingerprint key at {file}.",
                advice="`keylease fingerprint-key create FILE` makes one; scanners and gateways of"
                " the organization need the same.",
            ) from None
        if any(keys.shares_a_key_with(other) for other in found.values()):
            raise FingerprintKeyInvalid(
                "Two organizations have the same fingerprint key.",
                advice="Make one for each: what one masks must not be recognised by the other.",
            )
        found[organization] = keys
    return found
