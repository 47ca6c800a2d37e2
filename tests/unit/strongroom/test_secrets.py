from __future__ import annotations

import copy
import io
import itertools
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import structlog
from rich.console import Console
from rich.traceback import Traceback
from tests.support.store_tools import fake_key

from keylease.errors import KeyleaseError, SecretMisused
from keylease.strongroom.secrets import STARS, Secret

VALUE = fake_key()


def numbered() -> Callable[[object], str]:
    """Names for parameters that are all called <lambda>."""
    numbers = itertools.count(1)
    return lambda _: str(next(numbers))


@pytest.fixture
def secret() -> Secret:
    return Secret(VALUE)


@pytest.mark.parametrize(
    "show",
    [
        str,
        repr,
        ascii,
        format,
        lambda s: f"{s}",
        lambda s: f"{s!r:>40}",
        lambda s: f"{s:s}",
        lambda s: "%s" % s,  # noqa: UP031 - this very form is the subject
        lambda s: "%r" % s,  # noqa: UP031 - as above
        "{}".format,
        "{0!s:>30}".format,
        lambda s: str([s]),
        lambda s: str({"key": s}),
        lambda s: str(KeyleaseError(f"failed with {s}")),
        lambda s: repr(ValueError(s)),
        lambda s: str(ValueError("oops", s)),
    ],
    ids=numbered(),
)
def test_printing_and_formatting_give_stars(show: Callable[[Any], str], secret: Secret) -> None:
    shown = show(secret)
    assert VALUE not in shown
    assert STARS in shown


def test_print_gives_stars(secret: Secret, capsys: pytest.CaptureFixture[str]) -> None:
    print(secret)  # noqa: T201 - printing is the subject
    assert capsys.readouterr().out == f"{STARS}\n"


@pytest.mark.parametrize(
    "use",
    [
        pickle.dumps,
        lambda s: pickle.dumps(s, protocol=0),
        lambda s: pickle.dumps({"a": [s]}),
        copy.copy,
        copy.deepcopy,
        lambda s: copy.deepcopy([s]),
        bytes,
        hash,
        lambda s: {s: 1},
        lambda s: {s},
        lambda s: s == s,  # noqa: PLR0124 - comparing is the subject
        lambda s: s != Secret(VALUE),
        lambda s: s == VALUE,
        lambda s: s in [1, Secret(VALUE)],
    ],
    ids=numbered(),
)
def test_copying_comparing_and_pickling_raise(use: Callable[[Any], object], secret: Secret) -> None:
    with pytest.raises(SecretMisused) as caught:
        use(secret)
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize(
    "encode",
    [
        json.dumps,
        lambda s: json.dumps({"key": s}),
        msgspec.json.encode,
        msgspec.msgpack.encode,
        lambda s: msgspec.json.encode({"key": [s]}),
        msgspec.to_builtins,
    ],
    ids=numbered(),
)
def test_json_and_messagepack_refuse(encode: Callable[[Any], object], secret: Secret) -> None:
    with pytest.raises(TypeError) as caught:
        encode(secret)
    assert VALUE not in str(caught.value)


def test_json_with_a_fallback_to_str_gives_stars(secret: Secret) -> None:
    assert VALUE not in json.dumps({"key": secret}, default=str)
    assert VALUE.encode() not in msgspec.json.encode({"key": secret}, enc_hook=str)


def test_a_frozen_struct_shows_stars(secret: Secret) -> None:
    class Holder(msgspec.Struct, frozen=True):
        secret: Secret

    assert VALUE not in repr(Holder(secret))


def failing(held: Secret) -> None:
    local = held
    raise ValueError(f"cannot use {local}")


def test_tracebacks_with_locals_show_stars(secret: Secret) -> None:
    try:
        failing(secret)
    except ValueError as error:
        plain = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
        stream = io.StringIO()
        Console(file=stream, width=200).print(
            Traceback.from_exception(
                type(error), error, error.__traceback__, show_locals=True, width=200
            )
        )
        for shown in (plain, stream.getvalue()):
            assert "failing" in shown
            assert STARS in shown
            assert VALUE.removeprefix("sk-test-") not in shown


def test_logging_gives_stars(secret: Secret, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("keylease.test")
    with caplog.at_level(logging.DEBUG):
        logger.warning("the secret is %s", secret)
        logger.warning("the secret is %r", secret, extra={"held": secret})
        try:
            failing(secret)
        except ValueError:
            logger.exception("failed")
    assert VALUE not in caplog.text
    assert STARS in caplog.text


@pytest.mark.parametrize(
    "renderer",
    [
        structlog.processors.JSONRenderer(),
        structlog.dev.ConsoleRenderer(colors=False),
        structlog.processors.KeyValueRenderer(),
        structlog.processors.LogfmtRenderer(),
    ],
)
def test_structlog_gives_stars(renderer: Callable[..., str], secret: Secret) -> None:
    stream = io.StringIO()
    logger = structlog.wrap_logger(structlog.PrintLogger(stream), processors=[renderer])
    logger.warning("fetched", secret=secret, nested={"key": secret})
    assert VALUE not in stream.getvalue()
    assert STARS in stream.getvalue()


def test_reveal_is_the_one_way_in_and_names_its_use(secret: Secret) -> None:
    assert secret.reveal(why="test") == VALUE.encode()
    with pytest.raises(SecretMisused):
        secret.reveal(why="")


def test_equals_compares(secret: Secret) -> None:
    assert secret.equals(Secret(VALUE))
    assert not secret.equals(Secret(VALUE + "x"))


def test_wipe_zeroes_and_empties(secret: Secret) -> None:
    buffer = secret._buffer
    secret.wipe()
    assert len(secret) == 0
    assert not buffer


def test_a_secret_has_its_own_copy() -> None:
    source = bytearray(VALUE.encode())
    secret = Secret(source)
    source[:] = b"x" * len(source)
    assert secret.reveal(why="test") == VALUE.encode()


def test_nothing_but_the_buffer_is_kept(secret: Secret) -> None:
    assert not hasattr(secret, "__dict__")
    assert [name for name in dir(secret) if not name.startswith("_")] == [
        "equals",
        "reveal",
        "wipe",
    ]


@pytest.mark.parametrize("name", ["__getstate__", "__reduce__", "__bytes__", "__copy__"])
def test_no_method_of_serialisers_gives_the_bytes(secret: Secret, name: str) -> None:
    with pytest.raises(SecretMisused) as caught:
        getattr(secret, name)()
    assert VALUE not in str(caught.value)
