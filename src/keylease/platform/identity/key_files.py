"""Key files of the platform's own directory: made once, readable by their owner only."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from keylease.errors import ConfigurationError
from keylease.primitives import files

_MAXIMUM: Final = 64 * 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_or_make(path: Path, *, make: Callable[[], bytes]) -> bytes:
    """The content of a key file; ``make`` gives the first one.

    Raises ``ConfigurationError`` when it cannot be read, or when others may read it: a key that
    was open to others is not used as if it had not been.
    """
    try:
        if not path.exists():
            files.create(path, make())
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) or mode & _OTHERS:
            raise ConfigurationError(
                f"{path} may be read by others.",
                advice="Find out who has read it, then take their right away: chmod 600. If in "
                "doubt, remove the file; the guide on sign-in says what is set up again.",
            )
        content = files.read_bounded(path, maximum=_MAXIMUM)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}.",
            advice="It must belong to the user that the platform runs as.",
        ) from error
    if not 0 < len(content) <= _MAXIMUM:
        raise ConfigurationError(f"{path} is empty or too large to be a key.")
    return content
