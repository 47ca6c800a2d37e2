"""Our own: leases and trace tokens (a prefix and a JWT), API keys (with a checksum)."""

from __future__ import annotations

import re
from typing import Final

from keylease.contracts import api_keys
from keylease.detectors.definition import Checked, Definition
from keylease.detectors.randomness import is_random


def _api_key(text: str) -> Checked:
    return Checked.HOLDS if api_keys.is_well_formed(text) else Checked.BROKEN


def _hint(text: str) -> str:
    return api_keys.parse(text).hint if api_keys.is_well_formed(text) else ""


DEFINITIONS: Final = (
    Definition(
        kind="keylease-lease",
        title="Keylease lease",
        provider="keylease",
        literals=("kll_",),
        pattern=re.compile(r"kll_[A-Za-z0-9_.-]{16,}"),
        trigger=r"kll_[A-Za-z0-9_.-]{16}",
        form=re.compile(r"kll_eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}"),
        boundary=False,
        names=(r"key_?lease",),
        examples=("kll_eyJ{d:60}.eyJ{d:200}.{d:86}",),
    ),
    Definition(
        kind="keylease-trace-token",
        title="Keylease trace token",
        provider="keylease",
        literals=("klt_",),
        pattern=re.compile(r"klt_[A-Za-z0-9_.-]{16,}"),
        trigger=r"klt_[A-Za-z0-9_.-]{16}",
        form=re.compile(r"klt_eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}"),
        boundary=False,
        accept=is_random,
        examples=("klt_eyJ{d:60}.eyJ{d:200}.{d:86}",),
        counter_examples=("klt_basis_of_the_transform",),
    ),
    Definition(
        kind="keylease-api-key",
        title="Keylease API key",
        provider="keylease",
        literals=("kl_",),
        pattern=re.compile(r"kl_[A-Za-z0-9_-]{16,}"),
        trigger=r"kl_[A-Za-z0-9_-]{16}",
        form=re.compile(r"kl_(?:ing_)?[0-9A-Za-z]{39}"),
        check=_api_key,
        accept=is_random,
        key_id=_hint,
        examples=("{keylease}", "{keylease_ingest}"),
        counter_examples=("kl_divergence_loss_between_p_and_q",),
    ),
)
