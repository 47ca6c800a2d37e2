"""The OpenAPI document under docs/reference is the one that the server serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from keylease.platform.server.app import create_app
from keylease.platform.server.services import Services

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "openapi.json"


def test_the_document_is_up_to_date() -> None:
    served = create_app(cast("Services", None)).openapi()
    assert json.loads(DOCUMENT.read_text()) == json.loads(json.dumps(served)), "run `make docs`"
