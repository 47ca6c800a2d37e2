"""What differs between two states of the policy, thing by thing, and what is wrong with one."""

from __future__ import annotations

from typing import Any

import msgspec

from keylease.contracts.policy_rules import check_mistakes, check_reach
from keylease.errors import Mistake, Severity
from keylease.platform.policy.compiler import PolicyCompiler
from keylease.platform.policy.interfaces import GroupMembers
from keylease.platform.policy.resources import Content, PolicyContents, ResourceKind
from keylease.platform.policy.rules import Surroundings, mistakes_of
from keylease.platform.policy.widening import Widening, widenings


class MemberChange(msgspec.Struct, frozen=True, kw_only=True):
    """One member that differs. ``None`` stands for "there was none"."""

    member: str
    before: Any = None
    after: Any = None


class ThingChange(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that differs."""

    kind: ResourceKind
    object_id: str
    name: str
    change: str
    """``added``, ``changed`` or ``removed``."""
    members: tuple[MemberChange, ...] = ()


class PolicyDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two states."""

    changes: tuple[ThingChange, ...] = ()
    widenings: tuple[Widening, ...] = ()


class PolicyCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a state: mistakes keep it from being published, warnings do not."""

    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[Mistake, ...] = ()


def diff(before: PolicyContents, after: PolicyContents) -> PolicyDiff:
    """Every thing that differs, and whether it is wider."""
    changes: list[ThingChange] = []
    for kind in ResourceKind:
        old, new = before.of(kind), after.of(kind)
        changes += [
            ThingChange(
                kind=kind,
                object_id=name,
                name=content.name,
                change="changed" if name in old else "added",
                members=_members(old.get(name), content),
            )
            for name, content in new.items()
            if old.get(name) != content
        ]
        changes += [
            ThingChange(
                kind=kind,
                object_id=name,
                name=content.name,
                change="removed",
                members=_members(content, None),
            )
            for name, content in old.items()
            if name not in new
        ]
    order = list(ResourceKind)
    changes.sort(key=lambda change: (order.index(change.kind), change.name, change.object_id))
    return PolicyDiff(changes=tuple(changes), widenings=tuple(widenings(before, after)))


def _members(before: Content | None, after: Content | None) -> tuple[MemberChange, ...]:
    old = msgspec.to_builtins(before) if before is not None else {}
    new = msgspec.to_builtins(after) if after is not None else {}
    return tuple(
        MemberChange(member=member, before=old.get(member), after=new.get(member))
        for member in sorted(old.keys() | new.keys())
        if old.get(member) != new.get(member)
    )


def check(
    contents: PolicyContents, *, organization_id: str, groups: GroupMembers | None = None
) -> PolicyCheck:
    """Everything that is wrong. Locations begin with kind and name: ``route.chat.targets.0``."""
    surroundings = Surroundings(
        credentials={name: content.name for name, content in contents.credentials.items()},
        budgets={name: content.name for name, content in contents.budgets.items()},
    )
    mistakes = [
        msgspec.structs.replace(
            mistake, location=f"{kind.value}.{content.name}.{mistake.location}".rstrip(".")
        )
        for kind, _, content in contents.items()
        for mistake in mistakes_of(content, surroundings)
    ]
    places = {name: f"{kind.value}.{content.name}" for kind, name, content in contents.items()}
    bundle = PolicyCompiler(organization_id).compile(contents, groups=groups)
    warnings: list[Mistake] = []
    findings = check_mistakes(bundle)
    # What leads nowhere may only do so because of a mistake that is named already.
    for finding in findings or ([] if mistakes else check_reach(bundle)):
        place = ".".join([places[finding.object_id], *map(str, finding.place)])
        told = Mistake(location=place, message=finding.message, suggestion=finding.suggestion)
        (mistakes if finding.severity is Severity.ERROR else warnings).append(told)
    return PolicyCheck(mistakes=tuple(mistakes), warnings=tuple(warnings))
