"""Who this gateway is to the platform: its key, its identifier, and the policy key it trusts.

    <data>/strongroom/platform/key         32 bytes of Ed25519 in base64url, mode 0600
    <data>/strongroom/platform/enrolment   what the platform answered, JSON

Protects: the key is made here and never leaves; the policy key is the one whose fingerprint stood
    in the code that a person carried (and in gateway.toml, when it is pinned there), whoever
    answers.
Does not protect: whoever reads these files can speak as this gateway until the platform revokes it.
    It can then read policy bundles and push records in this gateway's name; no secret is reached.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keylease.contracts.bundles import fingerprint
from keylease.errors import (
    EnrolmentRefused,
    SignatureInvalid,
    StorageCorrupt,
)
from keylease.primitives import files
from keylease.primitives.signatures import decode_base64url, encode_base64url
from keylease.strongroom.configuration import PlatformSettings

_DIRECTORY: Final = "platform"
_KEY: Final = "key"
_ENROLMENT: Final = "enrolment"
_MAXIMUM: Final = 64 * 1024


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """What was agreed with the platform. Stored; append-only."""

    format: int = 1
    url: str
    gateway_id: str
    organization_id: str
    group: str
    policy_key: bytes
    """32 bytes of Ed25519: the newest that earlier ones led to. What came before it signs nothing
    for this gateway any more."""
    first_policy_key: bytes = b""
    """The one that stood in the code, when it was another."""
    enrolled_at: int = 0
    """Microseconds UTC."""

    @property
    def policy_key_fingerprint(self) -> str:
        """As it is pinned and named."""
        return fingerprint(self.policy_key)


def link_directory(strongroom: Path) -> Path:
    """Where everything of the link lies, below the strongroom's part of the data directory."""
    return strongroom / _DIRECTORY


class EnrolmentFiles:
    """Reads and writes both files. Used by the command and by the gateway, at any time."""

    def __init__(self, directory: Path) -> None:
        """``directory`` is that of the link."""
        self.directory = directory

    def read(self, settings: PlatformSettings, *, group: str) -> Enrolment | None:
        """The enrolment, or ``None`` when there is none yet.

        Raises ``EnrolmentRefused`` when it is one with another platform, group or policy key than
        gateway.toml names, and ``StorageCorrupt``.
        """
        data = self._read(_ENROLMENT)
        if data is None:
            return None
        try:
            enrolment = msgspec.json.decode(data, type=Enrolment)
            Ed25519PublicKey.from_public_bytes(enrolment.policy_key)
        except (msgspec.DecodeError, ValueError) as error:
            raise StorageCorrupt(
                f"{self.directory / _ENROLMENT} cannot be read.",
                advice="Remove it and enroll this gateway again.",
            ) from error
        first = fingerprint(enrolment.first_policy_key or enrolment.policy_key)
        for what, found, wanted in (
            ("platform", (enrolment.url,), settings.url),
            ("gateway group", (enrolment.group,), group),
            # A key that the pinned one led to is as good.
            ("policy key", (first, enrolment.policy_key_fingerprint), settings.policy_key),
        ):
            if wanted and wanted not in found:
                raise EnrolmentRefused(
                    f"This gateway was enrolled with another {what} than gateway.toml names.",
                    advice="Correct gateway.toml, or enroll it again: `keylease gateway enroll`.",
                )
        return enrolment

    def mark(self) -> tuple[int, int] | None:
        """Changes whenever the enrolment is written anew; ``None`` when there is none."""
        try:
            status = (self.directory / _ENROLMENT).stat()
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_ino)

    def key(self) -> Ed25519PrivateKey | None:
        """The gateway's own key, or ``None``; raises ``StorageCorrupt``."""
        data = self._read(_KEY)
        if data is None:
            return None
        try:
            # Raises ValueError unless there are 32 bytes.
            return Ed25519PrivateKey.from_private_bytes(decode_base64url(data.strip()))
        except (SignatureInvalid, ValueError) as error:
            raise StorageCorrupt(
                f"{self.directory / _KEY} does not hold a key.",
                advice="Remove the directory and enroll this gateway again.",
            ) from error

    def write(self, enrolment: Enrolment, key: Ed25519PrivateKey) -> None:
        """Store both, the enrolment last: without it the key means nothing."""
        files.make_private_directory(self.directory)
        files.replace(self.directory / _KEY, encode_base64url(key.private_bytes_raw()) + b"\n")
        files.replace(self.directory / _ENROLMENT, msgspec.json.encode(enrolment) + b"\n")

    def follow_policy_key(self, enrolment: Enrolment, policy_key: bytes) -> Enrolment:
        """Trust a newer policy key that the one before has led to, and no older one again."""
        followed = msgspec.structs.replace(
            enrolment,
            policy_key=policy_key,
            first_policy_key=enrolment.first_policy_key or enrolment.policy_key,
        )
        files.replace(self.directory / _ENROLMENT, msgspec.json.encode(followed) + b"\n")
        return followed

    def _read(self, name: str) -> bytes | None:
        path = self.directory / name
        try:
            return files.read_bounded(path, maximum=_MAXIMUM)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise files.explained(error, path) from error
