from __future__ import annotations

import re

import pytest

from keylease.platform.access.permissions import ACTIONS, DANGEROUS, Permission
from keylease.platform.access.roles import BUILT_IN, OWNER_ONLY, BuiltInRole, known_permissions

WORDS = r"[a-z]+(?:_[a-z]+)*"


@pytest.mark.parametrize("permission", Permission)
def test_a_permission_is_resource_and_action(permission: Permission) -> None:
    assert re.fullmatch(f"{WORDS}:{WORDS}", permission.value)
    assert permission.value.partition(":")[2] in ACTIONS
    assert permission.resource == permission.value.partition(":")[0]
    assert permission.name == permission.value.replace(":", "_").upper()


def test_no_permission_stands_for_others() -> None:
    assert not [p for p in Permission if re.search(r"\*|\b(any|all|admin)\b", p.value)]


def test_what_is_dangerous_is_separate() -> None:
    assert {
        Permission.CREDENTIAL_USE,
        Permission.AUDIT_EXPORT,
        Permission.POLICY_PUBLISH,
        Permission.LEASE_EXCHANGE,
    } <= DANGEROUS
    assert Permission.CREDENTIAL_MANAGE not in DANGEROUS


def test_six_roles_are_built_in() -> None:
    assert [role.name for role in BUILT_IN.values()] == [
        "Owner", "Admin", "Engineer", "Reviewer", "Viewer", "Auditor",
    ]  # fmt: skip


def test_the_owner_holds_everything_and_nobody_else_what_is_dangerous() -> None:
    assert BUILT_IN[BuiltInRole.OWNER].permissions == frozenset(Permission)
    for role in BUILT_IN.values():
        if role.id != BuiltInRole.OWNER:
            assert not role.permissions & (DANGEROUS | OWNER_ONLY)


@pytest.mark.parametrize("role", [BuiltInRole.AUDITOR, BuiltInRole.VIEWER])
def test_who_looks_changes_nothing(role: BuiltInRole) -> None:
    assert {p.value.partition(":")[2] for p in BUILT_IN[role].permissions} == {"read"}


def test_the_auditor_reads_the_log_and_the_inventory() -> None:
    auditor = BUILT_IN[BuiltInRole.AUDITOR].permissions
    assert {Permission.AUDIT_READ, Permission.INVENTORY_READ} <= auditor
    assert Permission.TRACE_READ not in auditor


def test_a_permission_of_a_newer_program_gives_nothing() -> None:
    assert known_permissions(["project:read", "time:travel"]) == {Permission.PROJECT_READ}
