"""Weights & Biases: ``wandb_v1_``, and the 40 hexadecimal digits of old, which names tell."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Shape, prefixed

DEFINITIONS: Final = (
    prefixed(
        "wandb-api-key",
        "Weights & Biases API key",
        ("wandb_v1_",),
        provider="wandb",
        least=32,
        form=r"wandb_v1_[A-Za-z0-9_]{60,90}",
        names=(r"\bwandb", r"weights_?(?:and|&)_?biases"),
        examples=("wandb_v1_{w:77}",),
    ),
)

SHAPES: Final = (
    Shape(
        kind="wandb-api-key-40",
        title="Weights & Biases API key of 40 digits",
        provider="wandb",
        form=re.compile(r"[0-9a-f]{40}"),
        names=(r"\bwandb", r"_wandb", r"weights_?(?:and|&)_?biases"),
        bare=True,
        examples=("{h:40}",),
    ),
)
