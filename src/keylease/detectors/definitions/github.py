"""GitHub: personal, OAuth, user, server and refresh tokens, classic and fine-grained."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition

DEFINITIONS: Final = (
    Definition(
        kind="github",
        literals=("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
        pattern=re.compile(r"gh[pousr]_[A-Za-z0-9_.-]{36,}"),
        boundary=False,
    ),
    Definition(
        kind="github",
        literals=("github_pat_",),
        pattern=re.compile(r"github_pat_[A-Za-z0-9_]{36,}"),
        boundary=False,
    ),
)
