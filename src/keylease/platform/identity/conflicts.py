"""Two requests that make the same thing at the same moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy.exc import IntegrityError

from keylease.errors import ResourceConflict


@contextlib.contextmanager
def unless_made_meanwhile() -> Iterator[None]:
    """Turn the database's refusal of a second one into ``ResourceConflict``.

    Around a single insert: the transaction is of no use afterwards, and the error ends it.
    """
    try:
        yield
    except IntegrityError as error:
        raise ResourceConflict(
            "There is one already, or somebody has made it at the same moment.",
            advice="Read it again.",
        ) from error
