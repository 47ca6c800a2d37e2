"""The parts of access, made once and handed out: ``access_rules``."""

from __future__ import annotations

from dataclasses import dataclass

from keylease.platform.access.authority import Authority
from keylease.platform.access.denials import DenialLog
from keylease.platform.access.grant_service import GrantService
from keylease.platform.access.interfaces import Directory
from keylease.platform.access.role_service import RoleService
from keylease.platform.access.service import AccessService
from keylease.platform.access.snapshots import Snapshots
from keylease.platform.db.database import Database
from keylease.primitives.clock import Clock


@dataclass(frozen=True, kw_only=True)
class AccessRules:
    """Who may do what, in this process."""

    decisions: AccessService
    """Asked by every route."""
    authority: Authority
    """Asked by every change of rights, inside its transaction."""
    roles: RoleService
    grants: GrantService
    denials: DenialLog
    """Writes its counts while ``denials.running()`` is entered."""


def access_rules(database: Database, directory: Directory, clock: Clock) -> AccessRules:
    """Everything, with nothing running yet."""
    snapshots = Snapshots(database, directory, clock)
    denials = DenialLog(database, clock)
    authority = Authority(database, snapshots, denials)
    return AccessRules(
        decisions=AccessService(snapshots, denials, clock),
        authority=authority,
        roles=RoleService(database, authority),
        grants=GrantService(database, authority, snapshots, directory),
        denials=denials,
    )
