"""Databricks: ``dapi`` personal tokens, ``dose`` OAuth secrets; 32 hexadecimal digits."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition

DEFINITIONS: Final = (
    Definition(
        kind="databricks-token",
        title="Databricks token",
        provider="databricks",
        literals=("dapi", "dose", "dkea"),
        pattern=re.compile(r"d(?:api|ose|kea)[0-9a-f]{32}(?:-\d)?(?![A-Za-z0-9])"),
        trigger=r"d(?:api|ose|kea)[0-9a-f]{32}",
        form=re.compile(r"d(?:api|ose|kea)[0-9a-f]{32}(?:-\d)?"),
        reads_on=False,
        names=(r"databricks",),
        examples=("dapi{h:32}", "dapi{h:32}-2", "dose{h:32}"),
        counter_examples=("dapi{h:31}", "dapi{h:33}"),
    ),
)
