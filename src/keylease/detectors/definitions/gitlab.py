"""GitLab: personal, deploy, runner, job, feed and other tokens (``gl...-``), routable or not.

A routable token ends in ``.``, two characters of length and seven of CRC-32 in base36, over
everything before (https://docs.gitlab.com/security/tokens/).
"""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.checks import BASE36, crc32_text
from keylease.detectors.definition import Checked, Definition, prefixed

_ROUTABLE: Final = re.compile(
    r"(gl[a-z]{2,5}-[A-Za-z0-9_-]{27,300}\.(?:01\.)?[0-9a-z]{2})([0-9a-z]{7})"
)
_PREFIXES: Final = (
    "glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glagent-", "glsoat-", "gloas-", "glft-",
    "glimt-", "glffct-", "glrtr-", "glwt-",
)  # fmt: skip


def _checksum(text: str) -> Checked:
    match = _ROUTABLE.fullmatch(text)
    if match is None:
        return Checked.UNKNOWN
    return Checked.HOLDS if crc32_text(match[1], BASE36, 7) == match[2] else Checked.BROKEN


DEFINITIONS: Final = (
    Definition(
        kind="gitlab-token",
        title="GitLab token",
        provider="gitlab",
        literals=_PREFIXES,
        pattern=re.compile(rf"(?:{'|'.join(_PREFIXES)})[A-Za-z0-9_.-]{{20,}}"),
        trigger=rf"(?:{'|'.join(_PREFIXES)})[A-Za-z0-9_.-]{{16}}",
        form=re.compile(r"gl[a-z]{2,5}-[A-Za-z0-9_.-]{20,400}"),
        check=_checksum,
        names=(r"git_?lab",),
        examples=("glpat-{d:20}", "gldt-{d:20}", "glpat-{d:32}.01.0w{crc36}", "glptt-{h:40}"),
        counter_examples=("glpat-{d:10}",),
    ),
    prefixed(
        "gitlab-runner-registration-token",
        "GitLab runner registration token",
        ("GR1348941",),
        provider="gitlab",
        least=20,
        form=r"GR1348941[A-Za-z0-9_-]{20}",
        random=False,
        examples=("GR1348941{d:20}",),
    ),
)
