"""Which check is for which kind of key."""

from __future__ import annotations

from typing import Final

from keylease.strongroom.verification.checks import (
    anthropic,
    aws,
    evaluation,
    forges,
    google,
    listed,
    model_hosts,
    openai,
)
from keylease.strongroom.verification.checks.interfaces import Check

CHECKS: Final[tuple[Check, ...]] = (
    *openai.CHECKS,
    *anthropic.CHECKS,
    *google.CHECKS,
    *listed.CHECKS,
    *model_hosts.CHECKS,
    *forges.CHECKS,
    *evaluation.CHECKS,
    *aws.CHECKS,
)
_BY_KIND: Final = {kind: check for check in CHECKS for kind in check.kinds}


def check_of(kind: str) -> Check | None:
    """The check for a kind of key; ``None`` for one that cannot be asked about."""
    return _BY_KIND.get(kind)
