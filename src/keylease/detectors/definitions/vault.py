"""Vault and OpenBao: service, batch and recovery tokens; names tell the short ones of old."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Shape, prefixed

DEFINITIONS: Final = (
    prefixed(
        "vault-token",
        "Vault token",
        ("hvs.", "hvb.", "hvr."),
        provider="vault",
        least=20,
        form=r"hv[sbr]\.[A-Za-z0-9_-]{24,300}",
        names=(r"\bvault", r"open_?bao", r"\bbao\b", r"\bhvac\b"),
        examples=("hvs.{d:95}", "hvs.{w:24}", "hvb.{d:160}", "hvr.{w:24}"),
        counter_examples=("hvs.somethingThatReadsLikeWords",),
    ),
)

SHAPES: Final = (
    Shape(
        kind="vault-token-old",
        title="Vault token of the old form",
        provider="vault",
        form=re.compile(r"s\.[A-Za-z0-9]{24}(?:\.[A-Za-z0-9]{5})?|b\.[A-Za-z0-9_-]{100,300}"),
        names=(r"vault", r"open_?bao", r"\bbao\b", r"\bhvac\b"),
        examples=("s.{w:24}", "b.{d:140}"),
    ),
)
