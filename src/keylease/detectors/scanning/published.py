"""Secrets that were published with standards, emulators and libraries, so that everybody has them.

Each is known by the beginning of the SHA-256 of its text without white space; the list holds none
of them in the clear. Append-only; whoever adds one says where it was published.
"""

from __future__ import annotations

from typing import Final

PUBLISHED: Final[dict[str, str]] = {
    "3080cd479436198bfe168e38": "It is published with moto, in moto_proxy/ca.key.",
    "2a675aa8db6dd2a5383d8f9d": "It is published with moto, in moto_proxy/cert.key.",
    "0011cc25eb4320717494d270": "It is the account key of Azure's storage emulator.",
    "aa6547439583c3a275d4542a": "It is the key of Azure's Cosmos DB emulator.",
}
