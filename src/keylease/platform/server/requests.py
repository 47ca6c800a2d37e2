"""What routes read from a request besides their body: pages, versions, and what was asked for.

page: Annotated[PageRequest, page_request()]
expected: Annotated[int, expected_version()]
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Depends, Header, Query, Request, Response
from pydantic import BaseModel, Field, StringConstraints

from keylease.errors import InputInvalid, VersionRequired
from keylease.platform.db.paging import DEFAULT_LIMIT, MAXIMUM_LIMIT, PageRequest
from keylease.platform.db.versions import check_version

_ETAG: Final = re.compile(r'"(\d{1,19})"')
_LARGEST: Final = 2**63 - 1
Item = TypeVar("Item")
Identifier = Annotated[
    str,
    StringConstraints(
        pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", max_length=36
    ),
]
"""A UUID in its text form, in a path, a query or a body."""
__all__ = [
    "Identifier",
    "PageOf",
    "check_version",
    "expected_version",
    "page_request",
    "path_of",
    "query_of",
    "set_version",
    "version_of",
]


class PageOf(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next_cursor: str = Field(
        default="", description="Give it as `cursor` to go on; empty at the end."
    )


def page_request() -> Any:  # noqa: ANN401 - what FastAPI's Depends is
    """A dependency: which page is asked for."""

    def read(
        limit: Annotated[int, Query(ge=1, le=MAXIMUM_LIMIT)] = DEFAULT_LIMIT,
        cursor: Annotated[str, Query(max_length=1000)] = "",
    ) -> PageRequest:
        return PageRequest(limit=limit, cursor=cursor)

    return Depends(read)


def expected_version() -> Any:  # noqa: ANN401 - as in page_request
    """A dependency: the version that ``If-Match`` names. Raises ``VersionRequired``."""

    def read(if_match: Annotated[str | None, Header(max_length=40)] = None) -> int:
        if if_match is None:
            raise VersionRequired(
                "This request must say which version it changes.",
                advice='Send the ETag of what you read as If-Match, for example If-Match: "3".',
            )
        return version_of(if_match)

    return Depends(read)


def version_of(if_match: str) -> int:
    """The version that an ``If-Match`` names. Raises ``InputInvalid``."""
    match = _ETAG.fullmatch(if_match.strip())
    if match is None or int(match[1]) > _LARGEST:
        raise InputInvalid('If-Match is not of the form "NUMBER", as ETag gives it.')
    return int(match[1])


def path_of(request: Request) -> str:
    """The path that was asked for, decoded.

    Not ``request.url.path``: ``urllib.parse`` keeps the addresses it has split last for as long as
    the process lives, and somebody may have pasted a key into one.
    """
    return str(request.scope["path"])


def query_of(request: Request) -> str:
    """The query as it was sent; not ``request.url.query``, for the same reason."""
    query: bytes = request.scope["query_string"]
    return query.decode("latin-1")


def set_version(response: Response, version: int) -> None:
    """Say the version of what is answered."""
    response.headers["ETag"] = f'"{version}"'
