"""Voyage: ``pa-`` (``al-`` by way of Atlas) and 43 characters."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape
from keylease.detectors.randomness import is_random

DEFINITIONS: Final = (
    Definition(
        kind="voyage-api-key",
        title="Voyage API key",
        provider="voyage",
        literals=("pa-",),
        pattern=re.compile(r"pa-[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),
        trigger=r"pa-[A-Za-z0-9_-]{43}",
        form=re.compile(r"pa-[A-Za-z0-9_-]{43}"),
        accept=is_random,
        reads_on=False,
        least_entropy=4.0,
        names=(r"voyage",),
        examples=("pa-{d:43}",),
        counter_examples=(
            "pa-{d:42}",
            "pa-{d:44}",
            "pa-a-thing-with-3-words-and-many-more-words-here",
        ),
    ),
)

SHAPES: Final = (
    Shape(
        kind="voyage-atlas-key",
        title="Voyage API key issued by Atlas",
        provider="voyage",
        form=re.compile(r"al-[A-Za-z0-9_-]{43}"),
        names=(r"voyage",),
        least_entropy=4.0,
        examples=("al-{d:43}",),
    ),
)
