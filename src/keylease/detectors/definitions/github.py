"""GitHub: personal, OAuth, user, server and refresh tokens, classic and fine-grained.

The last six characters of a classic token are the CRC-32 of the 30 before them in base62
(https://github.blog/engineering/behind-githubs-new-authentication-token-formats/).
"""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.checks import BASE62, crc32_text
from keylease.detectors.definition import Checked, Definition

_CLASSIC: Final = re.compile(r"gh[pousr]_([A-Za-z0-9]{30})([A-Za-z0-9]{6})")


def _checksum(text: str) -> Checked:
    match = _CLASSIC.fullmatch(text)
    if match is None:
        return Checked.UNKNOWN
    return Checked.HOLDS if crc32_text(match[1], BASE62, 6) == match[2] else Checked.BROKEN


DEFINITIONS: Final = (
    Definition(
        kind="github-token",
        title="GitHub token",
        provider="github",
        literals=("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
        pattern=re.compile(r"gh[pousr]_[A-Za-z0-9_.-]{36,}"),
        trigger=r"gh[pousr]_[A-Za-z0-9_.-]{16}",
        form=re.compile(r"gh[pousr]_(?:[A-Za-z0-9]{36}|[A-Za-z0-9_.-]{60,1000})"),
        check=_checksum,
        boundary=False,
        names=(r"git_?hub", r"\bgh\b"),
        examples=("ghp_{w:30}{crc62}", "ghs_{w:30}{crc62}", "ghr_{w:76}"),
        counter_examples=("ghp_{w:20}",),
    ),
    Definition(
        kind="github-fine-grained-token",
        title="GitHub fine-grained token",
        provider="github",
        literals=("github_pat_",),
        pattern=re.compile(r"github_pat_[A-Za-z0-9_]{36,}"),
        trigger=r"github_pat_[A-Za-z0-9_]{16}",
        form=re.compile(r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
        boundary=False,
        key_id=lambda text: text.split("_")[2],
        examples=("github_pat_{w:22}_{w:59}",),
    ),
)
