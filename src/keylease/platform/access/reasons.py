"""Decisions in sentences: what was missing, where, and what would give it."""

from __future__ import annotations

from keylease.errors import PermissionDenied
from keylease.platform.access.decisions import Decision, Reason
from keylease.platform.access.roles import BUILT_IN
from keylease.platform.access.snapshot import Snapshot
from keylease.primitives.clock import isoformat


class Denied(PermissionDenied):
    """A denial that remembers its decision, for the audit entry that is written about it."""

    def __init__(self, decision: Decision, snapshot: Snapshot) -> None:
        super().__init__(sentence_for(decision), advice=advice_for(decision, snapshot))
        self.decision = decision


def sentence_for(decision: Decision) -> str:
    """Why it is so, as one sentence. Identifiers only, no names."""
    question, grant = decision.question, decision.grant
    what = f"{question.permission.value} on {question.place}"
    who = question.principal or "the platform itself"
    if decision.allowed and grant is not None:
        through = f" through {' and '.join(decision.via)}" if decision.via else ""
        holds = f"the role {grant.role_id}" if grant.role_id else "the permission itself"
        return f"{who} holds {what}: {holds}, granted on {grant.place}{through}."
    beginning = f"{who} lacks {what}: "
    if decision.reason is Reason.NOT_STARTED and grant is not None:
        return f"{beginning}the grant {grant.id} begins at {isoformat(grant.starts_at)}."
    if decision.reason is Reason.ENDED and grant is not None:
        return f"{beginning}the grant {grant.id} ended at {isoformat(grant.ends_at)}."
    if decision.reason is Reason.ENDS_EARLIER and grant is not None:
        return f"{beginning}its own grant ends at {isoformat(grant.ends_at)}, before what it gives."
    if decision.reason is Reason.ELSEWHERE and grant is not None:
        return f"{beginning}it is held on {grant.place} only."
    return beginning + _PLAIN[decision.reason]


_PLAIN = {
    Reason.NOT_ACTIVE: "it is suspended, has left, or is not known here.",
    Reason.OUTSIDE_API_KEY: "the API key that was used was not given this permission.",
    Reason.OUTSIDE_PROJECT: "the API key that was used belongs to another project.",
    Reason.NOT_GRANTED: "no grant gives it.",
}


def roles_with(decision: Decision, snapshot: Snapshot) -> list[str]:
    """Identifiers of the roles that list the permission, the narrowest first."""
    found = [
        r
        for r, permissions in snapshot.roles.items()
        if decision.question.permission in permissions
    ]
    return sorted(found, key=lambda role_id: (len(snapshot.roles[role_id]), role_id))


def advice_for(decision: Decision, snapshot: Snapshot) -> str:
    """What would give the permission."""
    question = decision.question
    if decision.reason is Reason.NOT_ACTIVE:
        return "Whoever manages principals can say more."
    if decision.reason in {Reason.OUTSIDE_API_KEY, Reason.OUTSIDE_PROJECT}:
        return "Use an API key that was made for this; one never has more than its owner."
    named = [role_id for role_id in roles_with(decision, snapshot) if role_id in BUILT_IN][:3]
    roles = f"of the role {' or '.join(named)}, or " if named else ""
    return (
        f"A grant {roles}of {question.permission.value} itself on {question.place} would give it; "
        "whoever holds both that and access:manage there can make one."
    )
