"""What a strongroom process has to reach besides its interpreter: configuration and data."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from keylease.contracts.references import Reference
from keylease.strongroom.configuration import GatewayConfiguration

_TOP_LEVEL: Final = 2
"""Parts of /etc, /tmp, /root and the like."""
_HOMES: Final = ("/home", "/Users", "/var/home")


def configured_files(configuration: GatewayConfiguration) -> tuple[str, ...]:
    """Files and directories that gateway.toml names and the gateway only reads."""
    stores = configuration.stores
    files = [
        configuration.path,
        configuration.policy_file,
        configuration.tls_certificate_file,
        configuration.tls_key_file,
        configuration.tls_client_ca_file,
        configuration.upstream_ca_file,
        configuration.spool.otlp_headers_file,
        *_of_platform(configuration),
        stores.vault_token_file,
        stores.vault_role_id_file,
        stores.vault_secret_id_file,
        _login_jwt(configuration),
        stores.vault_ca_file,
        stores.sealed_passphrase_file,
        *stores.file_directories,
    ]
    return tuple(dict.fromkeys(path for path in files if path))


def replaced_files(configuration: GatewayConfiguration) -> tuple[str, ...]:
    """Directories of files that are read again and that their writers replace by renaming."""
    return directories_of(_read_again(configuration))


def directories_of(files: Iterable[Path]) -> tuple[str, ...]:
    """Directories that must be open for files which take the place of these to be reached.

    Landlock names files by inode: a file that took the place of another one is only reached
    through its directory. A directory with much else in it is not opened for that; see
    ``files_among_others``.
    """
    return tuple(
        dict.fromkeys(str(file.parent) for file in files if not _holds_much_else(file.parent))
    )


def files_among_others(configuration: GatewayConfiguration) -> tuple[str, ...]:
    """Files that cannot be read any more once they were replaced, until the next start."""
    return tuple(str(path) for path in _read_again(configuration) if _holds_much_else(path.parent))


def _read_again(configuration: GatewayConfiguration) -> list[Path]:
    stores = configuration.stores
    files = (
        configuration.policy_file,
        stores.vault_token_file,
        stores.vault_role_id_file,
        stores.vault_secret_id_file,
        _login_jwt(configuration),
        *_of_platform(configuration)[1:],
    )
    return [Path(path) for path in files if path]


def _login_jwt(configuration: GatewayConfiguration) -> str:
    """The pod's own token is opened only for a gateway that has a Vault to show it to."""
    stores = configuration.stores
    return stores.vault_login_jwt_file if stores.vault_address else stores.vault_jwt_file


def _of_platform(configuration: GatewayConfiguration) -> tuple[str, ...]:
    """Its certificate authorities, and the fingerprint key, which is read again."""
    platform = configuration.platform
    return (platform.ca_file, platform.fingerprint_key_file) if platform is not None else ()


def _holds_much_else(directory: Path) -> bool:
    """A home directory, or one of the system's own at the top of the tree."""
    return (
        len(directory.parts) <= _TOP_LEVEL
        or str(directory.parent) in _HOMES
        or directory == _home()
    )


def _home() -> Path | None:
    home = os.environ.get("HOME", "")  # noqa: TID251 - a place to keep closed, no configuration
    return Path(home) if home else None


def uses_scheme(configuration: GatewayConfiguration, scheme: str) -> bool:
    """Whether gateway.toml lets any reference of a store be used."""
    patterns = [binding.reference for binding in configuration.bindings]
    return any(
        pattern.partition("://")[0] in {scheme, "*", "**"}
        for pattern in [*patterns, configuration.signing_key]
    )


def env_names(references: tuple[str, ...]) -> tuple[str, ...]:
    """The variables that ``env://`` references among these name."""
    parsed = (Reference.parse(text) for text in references if text.startswith("env://"))
    return tuple(dict.fromkeys(reference.path for reference in parsed))
