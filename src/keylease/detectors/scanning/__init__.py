"""Finds secrets in bytes: for the file scanner and for what comes in from outside.

    scanner = Scanner()
    for match in scanner.scan(data, name="notebooks/demo.ipynb"):
        ...

Protects: nothing by itself. It says where a secret stands, what it is and how sure that is.
Does not protect: secrets without a form and without a telling name beside them; encryption; the
    encodings that ``docs/design/detectors.md`` does not list.
Limits: time is linear in the length of the data, memory is a small multiple of it with a bound on
    what is decoded; what a bound left out is an ``Omission``. Nothing is read, written or sent.
"""

from __future__ import annotations

from keylease.detectors.scanning.matches import (
    Confidence,
    FoundSecret,
    Match,
    Nature,
    Omission,
    Scan,
)
from keylease.detectors.scanning.scanner import Scanner

__all__ = ["Confidence", "FoundSecret", "Match", "Nature", "Omission", "Scan", "Scanner"]
