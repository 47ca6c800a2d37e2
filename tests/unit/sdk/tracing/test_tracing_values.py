"""How arguments and results become JSON."""

from __future__ import annotations

import dataclasses
import enum
import json
import uuid
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pydantic
import pytest

from keylease.sdk.tracing.values import LARGEST, json_of


class Colour(enum.Enum):
    RED = "red"


class Wire(msgspec.Struct):
    a: int


class Form(pydantic.BaseModel):
    secret: pydantic.SecretStr


@dataclasses.dataclass
class Point:
    x: int
    inner: object = None


class Opaque:
    def __repr__(self) -> str:
        raise AssertionError("nobody asks")


class Broken(pydantic.BaseModel):
    def model_dump(self, **_: object) -> dict[str, Any]:
        raise RuntimeError("not today")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        (True, True),
        (2**70, str(2**70)),
        (float("nan"), "nan"),
        ("\ud800x", "?x"),
        (b"\x00\x01", "<2 bytes>"),
        (Colour.RED, "red"),
        (date(2026, 11, 23), "2026-11-23"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        ({1: (2, [3])}, {"1": [2, [3]]}),
        (Wire(a=1), {"a": 1}),
        (Point(1, Point(2)), {"x": 1, "inner": {"x": 2, "inner": None}}),
        (Point, "<test_tracing_values.Point>"),
    ],
)
def test_values(value: object, wanted: object) -> None:
    found = json.loads(json_of(value))
    if isinstance(wanted, str) and wanted.startswith("<") and wanted.endswith(">"):
        assert str(found).startswith("<")
    else:
        assert found == wanted


def test_an_object_is_not_looked_into_unless_it_says_how_it_is_written() -> None:
    assert json.loads(json_of(Opaque())).endswith("Opaque>")
    assert json.loads(json_of(Broken())).endswith("Broken>")
    assert json.loads(json_of(iter([1]))) == "<builtins.list_iterator>"
    hidden = json_of(Form(secret=pydantic.SecretStr("hunter2")))
    assert "hunter2" not in hidden


def test_what_is_too_large_is_cut_and_marked() -> None:
    assert json.loads(json_of("x" * (LARGEST + 1))) == "x" * LARGEST + "..."
    many = json.loads(json_of(list(range(100_000))))
    assert many[-1] == "..."
    assert len(json_of({str(number): "x" * 1000 for number in range(10_000)})) < 2 * LARGEST
    around: list[object] = []
    around.append(around)
    assert json_of(around).count("[") < 20
