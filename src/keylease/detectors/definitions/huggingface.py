"""Hugging Face: ``hf_`` of users, ``api_org_`` of organizations; 34 letters, rarely digits."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from keylease.detectors.definition import WORD, prefixed
from keylease.detectors.randomness import is_random

_FORM: Final = re.compile(r"(?:hf|api_org)_[A-Za-z0-9]{34}")
_LEAST_LETTERS: Final = 30
_LEAST_CHANGES: Final = 8
"""Of case, among 33 neighbours: one token in 500 has fewer, and so have most written names."""


def _accepted(text: str) -> bool:
    if is_random(text):
        return True
    letters = text.rpartition("_")[2]
    changes = sum(first.islower() != second.islower() for first, second in pairwise(letters))
    return len(letters) >= _LEAST_LETTERS and changes >= _LEAST_CHANGES


DEFINITIONS: Final = (
    prefixed(
        "huggingface-token",
        "Hugging Face token",
        ("hf_",),
        provider="huggingface",
        alphabet=WORD,
        least=20,
        form=_FORM.pattern,
        random=False,
        accept=_accepted,
        names=(r"hugging_?face", r"hf_?token", r"hf_?api"),
        examples=("hf_{l:34}",),
        counter_examples=("hf_transformersmodelsummary",),
    ),
    prefixed(
        "huggingface-organization-token",
        "Hugging Face organization token",
        ("api_org_",),
        provider="huggingface",
        alphabet=WORD,
        least=20,
        form=_FORM.pattern,
        random=False,
        accept=_accepted,
        examples=("api_org_{l:34}",),
    ),
)
