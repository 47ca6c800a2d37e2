"""The policy in force when it comes from a platform: the last good bundle, and until when.

    <data>/strongroom/platform/bundle      the last good bundle as it came, with its signature
    <data>/strongroom/platform/high-water  the newest version that was ever taken

Promise: a bundle is in force only after it passed every check and is on the disk; what is on the
    disk is checked again at every start. With no platform in reach it serves until its expiry, by
    the wall clock or by the monotonic one, whichever comes first; then nothing is served.
Protects: an older bundle is refused although somebody puts its file back. Setting the clock back
    does not revive an expired one while the gateway runs.
Does not protect: against somebody who may write both files.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.bundles import MAXIMUM_BUNDLE_BYTES, SignedBundle
from keylease.contracts.platform_link import BundleState, Objection
from keylease.contracts.policy import PolicyBundle, Revocation
from keylease.errors import BundleNotUnderstood, BundleRefused, KeyleaseError, StorageCorrupt
from keylease.primitives import files
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.strongroom.configuration import GatewayConfiguration, PlatformSettings
from keylease.strongroom.gateway.coordinator.policy_source import NOTHING, PolicyStatus
from keylease.strongroom.link.bundle_check import HighWater, OpenedBundle, open_bundle
from keylease.strongroom.link.enrolment import Enrolment, EnrolmentFiles
from keylease.strongroom.link.servable import ServableBundle, servable

_BUNDLE: Final = "bundle"
_HIGH_WATER: Final = "high-water"
_STORED_BYTES: Final = MAXIMUM_BUNDLE_BYTES * 2
"""Base64 and the envelope included."""


class _StoredMark(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored. Append-only. A mark counts for one enrolment."""

    organization_id: str
    group: str
    gateway_id: str
    mark: HighWater


class PlatformPolicy:
    """Owned by the coordinator. ``bundle`` is empty while nothing may be served."""

    def __init__(
        self,
        *,
        enrolments: EnrolmentFiles,
        settings: PlatformSettings,
        configuration: GatewayConfiguration,
        clock: Clock,
    ) -> None:
        """Nothing is read yet."""
        self._enrolments = enrolments
        self._directory = enrolments.directory
        self._settings = settings
        self._configuration = configuration
        self._clock = clock
        self.enrolment: Enrolment | None = None
        self.objections: tuple[Objection, ...] = ()
        self._high_water = HighWater()
        self._bundle: PolicyBundle | None = None
        self._state = BundleState()
        self._deadline = 0.0
        """By the monotonic clock."""
        self._serve_until = 0
        self._error = ""
        self._error_at = 0
        self._seen: tuple[int, int] | None = None
        self._unstored: tuple[Revocation, ...] = ()

    @property
    def bundle(self) -> PolicyBundle:
        """The policy in force; one that allows nothing when there is none."""
        if self._bundle is not None:
            return self._bundle
        organization = self.enrolment.organization_id if self.enrolment is not None else ""
        return msgspec.structs.replace(NOTHING, organization_id=organization)

    @property
    def in_force(self) -> bool:
        """Whether there is a policy that may be served."""
        return self._bundle is not None

    @property
    def state(self) -> BundleState:
        """Of the bundle in force, for the platform."""
        return self._state if self._bundle is not None else BundleState()

    @property
    def highest_version(self) -> int:
        """The high-water mark."""
        return self._high_water.version

    # --- where a bundle comes from ---------------------------------------------------------

    def load(self) -> bool:
        """Read enrolment and last good bundle; true when the policy in force is another one now.

        Raises ``EnrolmentRefused`` and ``StorageCorrupt``. A bundle on the disk that may not be
        served is no error: the reason is in ``status`` and nothing is served.
        """
        self._seen = self._enrolments.mark()
        enrolment = self._enrolments.read(self._settings, group=self._configuration.group)
        if enrolment != self.enrolment:
            self.enrolment, self._bundle = enrolment, None
            self._high_water = self._read_mark()
        if enrolment is None or self._bundle is not None:
            return False
        stored = self._read(_BUNDLE)
        if stored is None:
            return False
        try:
            signed = msgspec.json.decode(stored, type=SignedBundle)
            opened = self._open(signed, enrolment)
            self._put_in_force(signed, opened, servable(opened.bundle, self._configuration))
        except msgspec.DecodeError:
            self.note(BundleNotUnderstood("The bundle on the disk cannot be read."))
            return False
        except BundleRefused as error:
            self.note(error)
            return False
        return True

    def file_changed(self) -> bool:
        """Whether somebody enrolled this gateway since ``load``."""
        return self._enrolments.mark() != self._seen

    def take(self, signed: SignedBundle) -> bool:
        """Check a bundle and put it in force; true when what it says is new.

        Raises ``BundleRefused`` or ``StorageError``; the policy before then stays.
        """
        enrolment = self.enrolment
        if enrolment is None:
            raise BundleNotUnderstood("A policy bundle came before the enrolment.")
        before = self._bundle
        self._unstored = ()
        try:
            opened = self._open(signed, enrolment)
            if before is not None and opened.mark.issued_at < self._high_water.issued_at:
                return False  # an earlier issue of the same version: nothing would be gained
            served = servable(opened.bundle, self._configuration)
            self._unstored = served.bundle.revocations
            # On the disk first; the mark last, so that the bundle there is never below it.
            files.replace(self._directory / _BUNDLE, msgspec.json.encode(signed))
            self._put_in_force(signed, opened, served)
        except KeyleaseError as error:
            self.note(error)
            raise
        self._error = ""
        return before is None or before.version != opened.mark.version

    def add_revocations_of_unstored(self) -> bool:
        """After ``take`` raised ``StorageError``: revoke what that bundle revokes all the same.

        It was good, and only could not be kept; a full disk must not keep a stolen lease alive.
        True when something was added.
        """
        if self._bundle is None or not (new := set(self._unstored) - set(self._bundle.revocations)):
            return False
        revocations = (*self._bundle.revocations, *sorted(new, key=lambda known: known.at))
        self._bundle = msgspec.structs.replace(self._bundle, revocations=revocations)
        return True

    def _open(self, signed: SignedBundle, enrolment: Enrolment) -> OpenedBundle:
        return open_bundle(
            signed,
            enrolment=enrolment,
            high_water=self._high_water,
            maximum_age=self._settings.maximum_bundle_age_seconds,
            now=self._clock.now(),
        )

    def _put_in_force(
        self, signed: SignedBundle, opened: OpenedBundle, served: ServableBundle
    ) -> None:
        if opened.mark != self._high_water:
            self._write_mark(opened.mark)
        self._high_water = opened.mark
        if self.enrolment is not None and opened.policy_key != self.enrolment.policy_key:
            self.enrolment = self._enrolments.follow_policy_key(self.enrolment, opened.policy_key)
            self._seen = self._enrolments.mark()
        self._bundle = served.bundle
        self.objections = served.objections
        self._serve_until = opened.serve_until
        left = (opened.serve_until - self._clock.now()) / MICROSECONDS
        self._deadline = self._clock.monotonic() + left
        self._state = BundleState(
            version=opened.bundle.version,
            digest=signed.digest,
            issued_at=opened.bundle.issued_at,
            expires_at=opened.serve_until,
        )

    # --- when it ends ----------------------------------------------------------------------

    def expire(self) -> bool:
        """Look at the clocks; true when the policy in force has just ended."""
        if self._bundle is None or (
            self._clock.now() < self._serve_until and self._clock.monotonic() < self._deadline
        ):
            return False
        self._bundle = None
        self._error = "bundle_expired: The last policy bundle has expired."
        self._error_at = self._clock.now()
        return True

    def withdraw(self, error: KeyleaseError) -> bool:
        """Serve nothing from now on, also after a restart; true when something was in force."""
        was = self._bundle is not None
        self._bundle = None
        self.note(error)
        (self._directory / _BUNDLE).unlink(missing_ok=True)
        return was

    def note(self, error: KeyleaseError) -> None:
        """Keep why something is not in force, for whoever asks."""
        self._error, self._error_at = f"{error.code}: {error}", self._clock.now()

    @property
    def status(self) -> PolicyStatus:
        """For people."""
        bundle = self.bundle
        return PolicyStatus(
            source="platform",
            path=self._settings.url,
            version=bundle.version,
            loaded_at=bundle.issued_at,
            expires_at=self._serve_until if self.in_force else 0,
            credentials=len(bundle.credentials),
            routes=len(bundle.routes),
            grants=len(bundle.grants),
            error=self._error,
            error_at=self._error_at if self._error else 0,
        )

    # --- files -----------------------------------------------------------------------------

    def _read_mark(self) -> HighWater:
        data = self._read(_HIGH_WATER)
        if data is None or self.enrolment is None:
            return HighWater()
        try:
            stored = msgspec.json.decode(data, type=_StoredMark)
        except msgspec.DecodeError as error:
            raise StorageCorrupt(
                f"{self._directory / _HIGH_WATER} cannot be read.",
                advice="Put it back from a back-up, or enroll this gateway again.",
            ) from error
        mine = (
            self.enrolment.organization_id,
            self.enrolment.group,
            self.enrolment.gateway_id,
        )
        same = (stored.organization_id, stored.group, stored.gateway_id) == mine
        return stored.mark if same else HighWater()

    def _write_mark(self, mark: HighWater) -> None:
        if self.enrolment is None:
            return
        stored = _StoredMark(
            organization_id=self.enrolment.organization_id,
            group=self.enrolment.group,
            gateway_id=self.enrolment.gateway_id,
            mark=mark,
        )
        files.replace(self._directory / _HIGH_WATER, msgspec.json.encode(stored))

    def _read(self, name: str) -> bytes | None:
        path = self._directory / name
        try:
            data = files.read_bounded(path, maximum=_STORED_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise files.explained(error, path) from error
        return data
