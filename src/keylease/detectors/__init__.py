"""What a secret looks like: patterns, entropy, context. Pure functions, no I/O.

Protects: text that is about to be stored or shown. A key that was sent by mistake is found by its
    form, or by a telling name beside a value that no person would type.
Does not protect: secrets without a form and without a telling name beside them, secrets split
    over several texts, and secrets inside an encoding (base64, hex, compressed). URL and JSON
    escapes around a secret do not hide it.
Limits: time is linear in the length of the text: a literal is searched first, and what follows it
    is read once.
"""

from __future__ import annotations

from keylease.detectors.engine import Finding, find, looks_like_secret, mask

__all__ = ["Finding", "find", "looks_like_secret", "mask"]
