"""``python -m keylease.platform JSON``: the platform's process.

Its only argument is a ``ServerConfiguration``; nothing is read from the environment.
"""

from __future__ import annotations

import os
import sys

import msgspec
import uvloop

from keylease.errors import ConfigurationError, KeyleaseError
from keylease.platform.server.configuration import ServerConfiguration
from keylease.platform.server.confinement import give_up, posture_in_words
from keylease.platform.server.given import read_given
from keylease.platform.server.log import configure_log
from keylease.platform.server.process import serve
from keylease.primitives.clock import SystemClock


def main(arguments: list[str]) -> int:
    """Serve until told to stop; gives the exit status."""
    os.umask(0o077)
    try:
        configuration = _configuration(arguments)
        configure_log(level=configuration.log_level, form=configuration.log_format)
        given = read_given(configuration)  # afterwards it may not open these files any more
        posture = posture_in_words(give_up(configuration))
        uvloop.run(serve(configuration, clock=SystemClock(), posture=posture, given=given))
    except KeyleaseError as error:
        return _said(error)
    except BaseExceptionGroup as group:
        # What ends a background task, or the start beside one, arrives in the groups around it.
        known = group.split(KeyleaseError)[0]
        if known is None:
            raise
        return _said(_first(known))
    return 0


def _first(error: BaseException) -> KeyleaseError:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, KeyleaseError):  # the group was split by that type
        raise error
    return error


def _said(error: KeyleaseError) -> int:
    sys.stderr.write(f"error: {error.message}\n")
    if error.advice:
        sys.stderr.write(f"hint: {error.advice}\n")
    return error.exit_status


def _configuration(arguments: list[str]) -> ServerConfiguration:
    try:
        (document,) = arguments
        return msgspec.json.decode(document, type=ServerConfiguration)
    except (ValueError, msgspec.DecodeError):
        raise ConfigurationError(
            "The platform's process takes one argument: its configuration as JSON.",
            advice="`keylease server` starts it.",
        ) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
