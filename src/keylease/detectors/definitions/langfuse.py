"""Langfuse: ``sk-lf-`` and ``pk-lf-`` with a UUID. The public key is the secret key's name."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import prefixed

DEFINITIONS: Final = (
    prefixed(
        "langfuse-secret-key",
        "Langfuse secret key",
        ("sk-lf-",),
        provider="langfuse",
        alphabet="A-Za-z0-9-",
        least=32,
        form=r"sk-lf-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        random=False,
        boundary=False,
        names=(r"langfuse",),
        id_near=re.compile(r"pk-lf-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        examples=("sk-lf-{u}",),
    ),
    prefixed(
        "langfuse-public-key",
        "Langfuse public key",
        ("pk-lf-",),
        provider="langfuse",
        alphabet="A-Za-z0-9-",
        least=32,
        form=r"pk-lf-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        random=False,
        boundary=False,
        key_id=lambda text: text,
        public=True,
        examples=("pk-lf-{u}",),
    ),
)
