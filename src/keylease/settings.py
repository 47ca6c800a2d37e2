"""The only reader of configuration: flag > KEYLEASE_* > settings file > default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of the command line starts from."""

    data_dir: Path
    config_dir: Path
    gateway_file: Path
    policy_file: Path
    strongroom_python: Path
    log_level: str
    log_format: str
    color: str

    @property
    def control_socket(self) -> Path:
        """Where the gateway's coordinator listens for this machine's people."""
        return self.data_dir / "strongroom" / "control.sock"


class LoadedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings and where each of them came from."""

    settings: Settings
    origins: dict[str, str]


def load(
    flags: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> LoadedSettings:
    """Read the configuration; raises ``SettingsInvalid``. A flag that is ``None`` was not given."""
    raise NotImplementedError


def process_environment() -> dict[str, str]:
    """Copy this process's environment, for a child process that is meant to have it."""
    raise NotImplementedError
