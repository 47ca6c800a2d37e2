"""Bad configuration."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from keylease.errors.base import KeyleaseError


class ConfigurationError(KeyleaseError):
    """Configuration that cannot be used; the process does not start.

    What a running server finds broken later, such as a key file that others may read now, is 503.
    """

    code = "configuration_invalid"
    http_status = 503
    exit_status = 64


class SettingsInvalid(ConfigurationError):
    """A flag, an environment variable or the settings file is wrong."""

    code = "settings_invalid"


class Severity(StrEnum):
    """Whether a diagnostic stops the file from being used."""

    ERROR = "error"
    WARNING = "warning"


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a configuration file. Never contains a secret."""

    path: str
    line: int = 0
    """Counts from 1; 0 means the file as a whole."""
    column: int = 0
    message: str
    suggestion: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{place}: {self.severity.value}: {self.message}{hint}"


class FileInvalid(ConfigurationError):
    """A configuration file has mistakes; ``diagnostics`` holds every one that was found."""

    code = "file_invalid"

    def __init__(
        self, message: str, *, diagnostics: tuple[Diagnostic, ...] = (), advice: str = ""
    ) -> None:
        super().__init__(message, advice=advice)
        self.diagnostics = diagnostics


class PolicyFileInvalid(FileInvalid):
    """keylease.toml has mistakes; the message lists each with its line."""

    code = "policy_file_invalid"


class GatewayFileInvalid(FileInvalid):
    """gateway.toml has mistakes; the message lists each with its line."""

    code = "gateway_file_invalid"


class ReferenceInvalid(ConfigurationError):
    """A reference is no URI of a known secret store."""

    code = "reference_invalid"


class FingerprintKeyInvalid(ConfigurationError):
    """The key that fingerprints are made with cannot be used."""

    code = "fingerprint_key_invalid"


class ScanInvalid(ConfigurationError):
    """What was asked of a scan cannot be done: a path that is not there, a broken baseline."""

    code = "scan_invalid"
