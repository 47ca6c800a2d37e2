"""Outbound requests, signed tokens, transparency logs."""

from __future__ import annotations

from keylease.errors.base import KeyleaseError


class EgressRefused(KeyleaseError):
    """An outbound request would reach an address that is not allowed."""

    code = "egress_refused"
    http_status = 502


class SignatureInvalid(KeyleaseError):
    """A signed token is malformed, or its signature does not hold; mapped before it is shown."""

    code = "signature_invalid"
    http_status = 400


class TransparencyError(KeyleaseError):
    """A Merkle log, or what is said about one, does not hold."""

    code = "transparency_error"
    http_status = 422


class NoteInvalid(TransparencyError):
    """A text is no signed note, or no key that is trusted signed it."""

    code = "note_invalid"


class ProofInvalid(TransparencyError):
    """An inclusion or consistency proof does not lead to the root it is about."""

    code = "proof_invalid"


class LogFaulty(TransparencyError):
    """A log is not what was signed or witnessed; says where the first fault is."""

    code = "log_faulty"

    def __init__(
        self, message: str, *, step: int, place: str, index: int | None = None, advice: str = ""
    ) -> None:
        super().__init__(message, advice=advice)
        self.step = step
        """The number of the verification step that failed."""
        self.place = place
        """The file, or the line of an export."""
        self.index = index
        """The first entry that is not proven to be what was logged; None when all may be."""


class WitnessRefused(TransparencyError):
    """A witness does not cosign a checkpoint; ``reason`` is a stable word."""

    code = "witness_refused"
    http_status = 409

    def __init__(
        self, message: str, *, reason: str, known_size: int | None = None, advice: str = ""
    ) -> None:
        super().__init__(message, advice=advice)
        self.reason = reason
        self.known_size = known_size
        """The size the witness cosigned last, when the asker has to begin there."""
