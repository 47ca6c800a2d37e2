"""How many connections a worker can hold before the system gives it no more file descriptors.

Without descriptors a process can accept nothing and refuse nothing: clients hang, and connections
to providers and stores fail. So the limit is raised as far as permitted, and clients get no more
than a part of it: whoever comes then is answered with 503.
"""

from __future__ import annotations

import contextlib
import resource
from typing import Final

_FOR_CLIENTS: Final = 0.75
"""The rest is for connections to providers, and for the process itself."""


def connections_within_limit(wanted: int) -> int:
    """Raise the limit on descriptors for ``wanted`` client connections; how many there may be."""
    needed = round(wanted / _FOR_CLIENTS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < needed:
        reachable = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):  # then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, reachable), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(wanted, int(soft * _FOR_CLIENTS)))
