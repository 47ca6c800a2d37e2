"""What a call is for. A purpose says why, an environment says where; they are separate."""

from __future__ import annotations

from enum import StrEnum


class Purpose(StrEnum):
    """Why a credential is used. Stored in leases and records: values are never renamed."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"
    EVAL = "eval"
