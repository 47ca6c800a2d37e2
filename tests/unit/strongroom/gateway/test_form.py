"""The form of the call path, as `keylease doctor` and the log say it."""

from __future__ import annotations

from pathlib import Path

from keylease.strongroom.gateway.call import exchange
from keylease.strongroom.gateway.form import Form, form_of_call_path


def test_the_form_is_that_of_what_is_loaded() -> None:
    interpreted = Path(exchange.__file__).suffix == ".py"
    assert form_of_call_path() is (Form.INTERPRETED if interpreted else Form.COMPILED)
