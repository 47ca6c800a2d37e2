"""What is revoked, as every call looks it up.

Protects: against leases and credentials that were given up before their time.
Does not protect: calls that already passed the check.
Limits: leases carry whole seconds; the millisecond of issue is taken from the lease id (UUIDv7),
    and where that is not possible a lease of the same second as the revocation is dead too.

``RevocationStore`` (revocation_store) keeps revocations over a restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from keylease.contracts.leases import LeaseClaims
from keylease.contracts.policy import Revocation, RevocationKind
from keylease.errors import LeaseRevoked
from keylease.primitives.clock import MICROSECONDS

_ADVICE: Final = "Ask whoever revoked it, or get a new lease once access is given again."
_UUID_VERSION: Final = 7
_MILLISECOND: Final = 1000


class RevocationList:
    """The revocations in force. Changed in place, so that whoever holds it sees every change."""

    def __init__(self, revocations: Iterable[Revocation] = ()) -> None:
        self.version = 0
        """Counts up with every change; what was decided under another version is decided again."""
        self._leases: set[str] = set()
        self._principals: dict[str, int] = {}
        self._credentials: set[str] = set()
        self._admissions: dict[str, int] = {}
        self._all_issued_up_to = -1
        self.replace(revocations)

    def check(self, claims: LeaseClaims) -> None:
        """Raise ``LeaseRevoked`` unless the lease is still in force."""
        if claims.jti in self._leases:
            raise LeaseRevoked("The lease was revoked.", advice=_ADVICE)
        revoked_at = max(self._principals.get(claims.sub, -1), self._all_issued_up_to)
        if revoked_at >= 0 and issued_at(claims) <= revoked_at:
            raise LeaseRevoked("The leases of this principal were revoked.", advice=_ADVICE)
        if self._admissions and issued_at(claims) <= self._admissions.get(claims.via, -1):
            raise LeaseRevoked("What this lease was issued for was revoked.", advice=_ADVICE)

    def check_credential(self, credential_id: str) -> None:
        """Raise ``LeaseRevoked`` when the credential is revoked."""
        if credential_id in self._credentials:
            raise LeaseRevoked(
                "The credential was revoked.",
                advice="Rotate it at the provider, then lift the revocation.",
            )

    def apply(self, revocation: Revocation) -> None:
        """Add one revocation."""
        self._add(revocation)
        self.version += 1

    def replace(self, revocations: Iterable[Revocation]) -> None:
        """Put exactly these revocations in force."""
        self._leases = set()
        self._principals = {}
        self._credentials = set()
        self._admissions = {}
        self._all_issued_up_to = -1
        for revocation in revocations:
            self._add(revocation)
        self.version += 1

    def _add(self, revocation: Revocation) -> None:
        match revocation.kind:
            case RevocationKind.LEASE:
                self._leases.add(revocation.value)
            case RevocationKind.PRINCIPAL:
                before = self._principals.get(revocation.value, -1)
                self._principals[revocation.value] = max(before, revocation.at)
            case RevocationKind.CREDENTIAL:
                self._credentials.add(revocation.value)
            case RevocationKind.ADMISSION:
                before = self._admissions.get(revocation.value, -1)
                self._admissions[revocation.value] = max(before, revocation.at)
            case RevocationKind.ALL:
                self._all_issued_up_to = max(self._all_issued_up_to, revocation.at)


def issued_at(claims: LeaseClaims) -> int:
    """The earliest moment, in microseconds, at which the lease can have been issued."""
    second = claims.iat * MICROSECONDS
    try:
        identifier = UUID(claims.jti)
    except ValueError:
        return second
    precise = (identifier.int >> 80) * _MILLISECOND
    if identifier.version == _UUID_VERSION and second <= precise < second + MICROSECONDS:
        return precise
    return second
