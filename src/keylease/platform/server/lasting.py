"""Whether a caller may go on with an answer that lasts.

Protects: a request is checked when it comes. An answer that lasts for hours would outlive the end
    of the session or the API key it was asked with, and of its caller's rights; who gives one asks
    here again and again.
Limits: the session is found by its identifier. Its text may have been exchanged for a new one
    since, and shown again it would look stolen.
"""

from __future__ import annotations

from keylease.errors import PermissionDenied, ResourceNotFound, SignInRequired
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.server.services import Services


async def still_allowed(
    services: Services, caller: Caller, permission: Permission, *, project_id: str = ""
) -> bool:
    """Whether session or API key have not ended, and the permission is still held there."""
    now = services.clock.now()
    try:
        await services.access.require(caller, permission, project_id=project_id)
        if caller.session_id:
            return now < (await services.identity.sessions.current(caller)).expires_at
        if caller.api_key_id:
            key = await services.identity.api_keys.read(caller, caller.api_key_id)
            return key.revoked_at is None and now < key.expires_at
    except (PermissionDenied, ResourceNotFound, SignInRequired):
        return False
    return True
