from __future__ import annotations

from tests.support.aws import aws
from tests.support.openbao import bao

__all__ = ["aws", "bao"]
