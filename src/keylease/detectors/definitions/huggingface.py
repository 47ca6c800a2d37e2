"""Hugging Face: ``hf_`` of users, ``api_org_`` of organizations; 34 letters."""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import WORD, prefixed

DEFINITIONS: Final = (
    prefixed(
        "huggingface-token",
        "Hugging Face token",
        ("hf_",),
        provider="huggingface",
        alphabet=WORD,
        least=20,
        form=r"hf_[A-Za-z0-9]{34}",
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
        form=r"api_org_[A-Za-z0-9]{34}",
        examples=("api_org_{l:34}",),
    ),
)
