"""Our own disk, processes, and misuse of secrets."""

from __future__ import annotations

from keylease.errors.base import KeyleaseError


class StorageError(KeyleaseError):
    """Our own files cannot be read or written."""

    code = "storage_error"
    http_status = 503


class StorageFull(StorageError):
    """No space: on the disk, or in a spool with a bound."""

    code = "storage_full"


class StorageCorrupt(StorageError):
    """A file of ours does not have the form it was written in."""

    code = "storage_corrupt"


class AuditLogUnavailable(StorageError):
    """The audit log cannot be written, so nothing that needs an entry is changed."""

    code = "audit_log_unavailable"


class PolicyKeyUnavailable(StorageError):
    """The key that signs an organization's policy is not where it was, or others may read it."""

    code = "policy_key_unavailable"


class DataFormatTooNew(StorageError):
    """The data directory was written by a newer version."""

    code = "data_format_too_new"
    exit_status = 65


class DataDirectoryLocked(StorageError):
    """Another process uses the data directory."""

    code = "data_directory_locked"
    exit_status = 75


class DataDirectoryForeign(StorageError):
    """The data directory does not belong to the database: its keys are other ones."""

    code = "data_directory_foreign"
    exit_status = 65


class ProcessError(KeyleaseError):
    """A process could not be started or reached."""

    code = "process_error"


class PortInUse(ProcessError):
    """Somebody else listens on the address."""

    code = "port_in_use"
    exit_status = 75


class ProcessFailed(ProcessError):
    """A child process ended when it should not."""

    code = "process_failed"
    exit_status = 70


class GatewayNotRunning(ProcessError):
    """Nothing answers on the gateway's control socket."""

    code = "gateway_not_running"
    exit_status = 69


class ProgramNotFound(ProcessError):
    """`keylease run` was given a program that does not exist; the exit status is the shell's."""

    code = "program_not_found"
    exit_status = 127


class ProgramNotStarted(ProcessError):
    """`keylease run` was given a program that cannot be executed."""

    code = "program_not_started"
    exit_status = 126


class SecretMisused(KeyleaseError):
    """Code tried to print, format, copy or serialise a secret. Always a defect of ours."""

    code = "secret_misused"
