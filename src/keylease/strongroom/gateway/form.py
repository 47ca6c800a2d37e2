"""In which of its two forms the call path runs here: compiled, or interpreted."""

from __future__ import annotations

from enum import StrEnum
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from typing import Final

_CENTRE: Final = "keylease.strongroom.gateway.call.exchange"


class Form(StrEnum):
    """How the modules that a model call runs through were built."""

    COMPILED = "compiled"
    INTERPRETED = "interpreted"

    def in_words(self) -> str:
        """For a person, with what would change it."""
        if self is Form.COMPILED:
            return "compiled"
        return (
            "interpreted, which takes more than twice the time of a call; "
            "a wheel that is built where there is a C compiler is compiled"
        )


def form_of_call_path() -> Form:
    """Looks for the module; does not load it."""
    found = find_spec(_CENTRE)
    origin = (found.origin if found is not None else None) or ""
    return Form.COMPILED if origin.endswith(tuple(EXTENSION_SUFFIXES)) else Form.INTERPRETED
