"""Variables that would make a strongroom process talk to somebody else, or load foreign code.

Protects: against a proxy, another endpoint, another set of trusted certificates, a TLS key log and
    injected libraries that the environment asks for, by accident or not.
Does not protect: against libraries that were injected before and hide their variable.
Limits: the process that started this one may have done anything already.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from keylease.primitives.confinement.measures import Measure

_DROPPED: Final = re.compile(
    r"""(?xi)
      .*_PROXY | .*_BASE_URL | .*_API_BASE | .*_ENDPOINT | .*_ENDPOINT_URL(?:_.*)?
    | .*_API_HOST | .*_BASE_URI
    | SSLKEYLOGFILE | SSL_CERT_(?:FILE|DIR)
    | REQUESTS_CA_BUNDLE | CURL_CA_BUNDLE | AWS_CA_BUNDLE | NODE_EXTRA_CA_CERTS
    | OPENSSL_.* | NETRC
    | PYTHON.*
    | HOSTALIASES | LOCALDOMAIN | RES_OPTIONS | RESOLV_.* | GCONV_PATH | NLSPATH
    """
)
_LOADER: Final = re.compile(r"(?:LD|DYLD)_.*|GLIBC_TUNABLES")
"""What the dynamic loader has acted on before the first line of Python ran."""


def unwanted(names: Iterable[str]) -> tuple[str, ...]:
    """Those of ``names`` that a strongroom process does not keep, sorted."""
    return tuple(sorted(name for name in names if _DROPPED.fullmatch(name) or is_loader(name)))


def is_loader(name: str) -> bool:
    """Whether the dynamic loader has already done what this variable says."""
    return bool(_LOADER.fullmatch(name))


def clean_environment() -> Measure:
    """Drop the unwanted variables; start over without them when the loader has seen one.

    Starting over replaces this process (same pid, same descriptors) and does not return.
    """
    environment = os.environ  # noqa: TID251 - takes variables away, reads no configuration
    dropped = unwanted(environment)
    for name in dropped:
        del environment[name]
    if any(map(is_loader, dropped)):
        _start_over(environment)
    kept = "no proxy, endpoint, certificate or loader variable was set"
    return Measure(
        name="environment cleaned",
        on=True,
        reason=f"ignored: {', '.join(dropped)}" if dropped else kept,
    )


def _start_over(environment: Mapping[str, str]) -> None:
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], dict(environment))  # noqa: S606 - ourselves, no shell
