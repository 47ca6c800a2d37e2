"""URLs of the provider in an answer, which clients would follow with what they hold: their lease.

Anthropic's batches name the place of their results as an absolute URL, and the SDKs ask there with
the key they were given. Behind a gateway that would send the lease to the provider, and fail.

Protects: a lease from being sent to a provider by an SDK that follows ``results_url``. The client
    gets a path instead, which SDKs put behind their own base URL.
Does not protect: against programs that build the provider's URL themselves.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.strongroom.gateway.providers.interfaces import OBJECT_ID

_RESULTS: Final = "results_url"
_LIST: Final = "data"
_ENCODER: Final = msgspec.json.Encoder()
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECTS: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_TEXT: Final = msgspec.json.Decoder(str)
_NOTHING: Final = b"null"


def with_own_links(body: bytes) -> bytes:
    """A batch, or a list of them, whose results are here; every other value is kept as it came."""
    try:
        members = _MEMBERS.decode(body)
        if _LIST in members:
            found = _OBJECTS.decode(members[_LIST])
            listed = [_linked(batch) for batch in found]
            return _ENCODER.encode({**members, _LIST: listed})
        return _ENCODER.encode(_linked(members))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body  # no client reads a URL out of it either


def _linked(batch: dict[str, msgspec.Raw]) -> dict[str, object]:
    changed: dict[str, object] = dict(batch)
    url = batch.get(_RESULTS)
    if url is None or bytes(url) == _NOTHING:
        return changed
    batch_id = _TEXT.decode(batch.get("id", b""))
    changed[_RESULTS] = (
        f"/v1/messages/batches/{batch_id}/results" if OBJECT_ID.fullmatch(batch_id) else None
    )
    return changed
