"""Revocations: what they kill, and that they outlive the process."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.lease_kit import LeaseKit

from keylease.contracts.leases import LONGEST_LIFETIME
from keylease.contracts.policy import Revocation, RevocationKind
from keylease.errors import LeaseRevoked, StorageCorrupt
from keylease.strongroom.leases.revocation import RevocationList
from keylease.strongroom.leases.revocation_store import RevocationStore

LEASE, PRINCIPAL = RevocationKind.LEASE, RevocationKind.PRINCIPAL
CREDENTIAL, ALL = RevocationKind.CREDENTIAL, RevocationKind.ALL


def revocation(kind: RevocationKind, value: str = "", at: int = 0) -> Revocation:
    return Revocation(kind=kind, value=value, at=at)


def test_one_lease_is_revoked_and_no_other() -> None:
    kit = LeaseKit()
    one, other = kit.lease().claims, kit.lease().claims
    revoked = RevocationList()
    revoked.check(one)
    revoked.apply(revocation(LEASE, one.jti, kit.clock.now()))
    revoked.check(other)
    with pytest.raises(LeaseRevoked):
        revoked.check(one)


@pytest.mark.parametrize(("kind", "value"), [(PRINCIPAL, "user:alice"), (ALL, "")])
def test_leases_issued_up_to_the_moment_are_dead_and_later_ones_live(
    kind: RevocationKind, value: str
) -> None:
    kit = LeaseKit()
    before = kit.lease().claims
    kit.clock.advance(0.5)
    revoked = RevocationList([revocation(kind, value, kit.clock.now())])
    with pytest.raises(LeaseRevoked):
        revoked.check(before)
    kit.clock.advance(0.002)  # still within the same second
    revoked.check(kit.lease().claims)


def test_without_a_precise_identifier_the_whole_second_is_dead() -> None:
    kit = LeaseKit()
    revoked = RevocationList([revocation(ALL, at=kit.clock.now())])
    kit.clock.advance(0.5)
    for jti in ("not-a-uuid", "01a204ba-3f6e-4945-b439-95c87d7bdad4"):
        with pytest.raises(LeaseRevoked):
            revoked.check(kit.claims(jti=jti))


def test_an_identifier_that_claims_another_second_counts_for_nothing() -> None:
    kit = LeaseKit()
    later = LeaseKit()
    later.clock.advance(3600)
    revoked = RevocationList([revocation(ALL, at=kit.clock.now())])
    with pytest.raises(LeaseRevoked):
        revoked.check(kit.claims(jti=later.claims().jti))


def test_another_principal_is_not_affected() -> None:
    kit = LeaseKit()
    revoked = RevocationList([revocation(PRINCIPAL, "user:alice", kit.clock.now())])
    revoked.check(kit.claims(sub="user:alice2"))


def test_an_earlier_revocation_does_not_weaken_a_later_one() -> None:
    kit = LeaseKit()
    claims = kit.lease().claims
    revoked = RevocationList([revocation(PRINCIPAL, "user:alice", kit.clock.now())])
    revoked.apply(revocation(PRINCIPAL, "user:alice", 5))
    with pytest.raises(LeaseRevoked):
        revoked.check(claims)


def test_a_credential_is_refused_until_it_is_lifted() -> None:
    revoked = RevocationList([revocation(CREDENTIAL, "c1")])
    revoked.check_credential("c2")
    with pytest.raises(LeaseRevoked):
        revoked.check_credential("c1")
    revoked.replace([])
    revoked.check_credential("c1")


def test_every_change_has_a_version_of_its_own() -> None:
    revoked = RevocationList()
    versions = [revoked.version]
    revoked.apply(revocation(CREDENTIAL, "c1"))
    versions.append(revoked.version)
    revoked.replace([])
    versions.append(revoked.version)
    assert len(set(versions)) == 3


def test_revocations_outlive_the_process(tmp_path: Path) -> None:
    clock = LeaseKit().clock
    store = RevocationStore(tmp_path, clock=clock)
    made = [
        revocation(LEASE, "lease-1", clock.now()),
        revocation(PRINCIPAL, "user:alice", clock.now()),
        revocation(CREDENTIAL, "c1", clock.now()),
        revocation(ALL, "", clock.now()),
    ]
    for one in made:
        store.add(one)
    # Not closed: whoever is killed does not close either.
    again = RevocationStore(tmp_path, clock=clock)
    assert set(again.revocations()) == set(made)
    assert (tmp_path / "revocations").stat().st_mode & 0o777 == 0o600
    again.close()
    store.close()


def test_what_has_expired_anyway_is_dropped_and_credentials_stay(tmp_path: Path) -> None:
    clock = LeaseKit().clock
    store = RevocationStore(tmp_path, clock=clock)
    credential = revocation(CREDENTIAL, "c1", clock.now())
    for one in (revocation(LEASE, "lease-1", clock.now()), credential):
        store.add(one)
    store.close()
    clock.advance(LONGEST_LIFETIME - 1)
    store = RevocationStore(tmp_path, clock=clock)
    assert len(store.revocations()) == 2
    store.close()
    clock.advance(62)
    store = RevocationStore(tmp_path, clock=clock)
    assert store.revocations() == (credential,)
    store.close()
    assert (tmp_path / "revocations").read_bytes().count(b"\n") == 1


def test_a_lifted_credential_stays_lifted(tmp_path: Path) -> None:
    clock = LeaseKit().clock
    store = RevocationStore(tmp_path, clock=clock)
    store.add(revocation(CREDENTIAL, "c1", clock.now()))
    assert store.lift("c1")
    assert not store.lift("c1")
    again = RevocationStore(tmp_path, clock=clock)
    assert again.revocations() == ()
    again.close()
    store.close()


def test_a_thousand_changes_do_not_grow_the_file_without_end(tmp_path: Path) -> None:
    clock = LeaseKit().clock
    store = RevocationStore(tmp_path, clock=clock)
    for _ in range(1200):
        store.add(revocation(CREDENTIAL, "c1", clock.now()))
        store.lift("c1")
    assert (tmp_path / "revocations").read_bytes().count(b"\n") < 1100
    store.close()


def test_a_line_that_is_no_revocation_stops_the_start(tmp_path: Path) -> None:
    clock = LeaseKit().clock
    store = RevocationStore(tmp_path, clock=clock)
    store._journal.append(b'{"revocation":{"kind":"nothing","at":1}}')
    store.close()
    with pytest.raises(StorageCorrupt):
        RevocationStore(tmp_path, clock=clock)
