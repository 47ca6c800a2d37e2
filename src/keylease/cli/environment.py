"""Which variables another process gets to see. No configuration is read here."""

from __future__ import annotations

from typing import Final

from keylease.settings import process_environment

_PASSED: Final = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LOGNAME",
        "NO_COLOR",
        "PATH",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
    }
)
"""What a supervisor may keep: nothing that holds a key, loads code or changes a destination."""
_PASSED_TO_STORES: Final = frozenset(
    {
        # Where the default credential chain of AWS looks; the two of a container are those of
        # EKS Pod Identity. The ones that hold a secret (AWS_ACCESS_KEY_ID ...) travel in the
        # handover, never in an environment.
        "AWS_CONFIG_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_DEFAULT_REGION",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        # How keyring:// finds the desktop's secret service.
        "DBUS_SESSION_BUS_ADDRESS",
        "XDG_RUNTIME_DIR",
    }
)
_STRONGROOM_PATH: Final = "/usr/bin:/bin"


def kept_names() -> tuple[str, ...]:
    """Names of the variables that a supervisor keeps: an allow-list, with no provider key in it."""
    return tuple(
        sorted(
            name
            for name in process_environment()
            if name in _PASSED or name in _PASSED_TO_STORES or name.startswith("LC_")
        )
    )


def handover_environment() -> dict[str, str]:
    """What the process gets that takes the values of ``env://`` references out of it.

    Everything, because only that process learns which names it needs; but nothing that would make
    the loader or Python run foreign code in it.
    """
    return {
        name: value
        for name, value in process_environment().items()
        if not name.startswith(("LD_", "DYLD_", "PYTHON"))
    }


def strongroom_environment() -> dict[str, str]:
    """What a strongroom process gets: the same list, with a search path of our own."""
    own = process_environment()
    return {**{name: own[name] for name in kept_names()}, "PATH": _STRONGROOM_PATH}
