"""Fireworks: ``fw_``, and longer values of old, which names tell."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import WORD, Shape, prefixed

DEFINITIONS: Final = (
    prefixed(
        "fireworks-api-key",
        "Fireworks API key",
        ("fw_",),
        provider="fireworks",
        alphabet=WORD,
        form=r"fw_[A-Za-z0-9]{20,28}",
        names=(r"fireworks",),
        examples=("fw_{w:22}", "fw_{w:24}"),
        counter_examples=("fw_configuration_of_the_host",),
    ),
)

SHAPES: Final = (
    Shape(
        kind="fireworks-api-key-old",
        title="Fireworks API key without a prefix",
        provider="fireworks",
        form=re.compile(r"[A-Za-z0-9]{46,52}"),
        names=(r"fireworks",),
        bare=True,
        examples=("{w:48}",),
    ),
)
