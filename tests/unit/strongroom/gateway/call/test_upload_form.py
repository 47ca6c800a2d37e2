"""The form of an upload, read while it passes in pieces of any size."""

from __future__ import annotations

import random

import pytest

from keylease.errors import RequestMalformed
from keylease.strongroom.gateway.call.forms import FormBody
from keylease.strongroom.gateway.call.upload_form import UploadForm

TYPE = "multipart/form-data; boundary=xyz"


class Lines:
    """Keeps the content it is given."""

    def __init__(self) -> None:
        self.content = b""
        self.finished = False

    def feed(self, data: bytes) -> None:
        self.content += data

    def finish(self) -> None:
        self.finished = True


def part(name: str, content: bytes, filename: str = "") -> bytes:
    named = f'; filename="{filename}"' if filename else ""
    head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + b"\r\n"


PURPOSE = part("purpose", b"batch")
END = b"--xyz--\r\n"
CONTENT = b'{"a":1}\r\n--xy\r\n-- \r\n\r\n--xz\n'
WHOLE = PURPOSE + part("expires_after[seconds]", b"3600") + part("file", CONTENT, "a.jsonl") + END


def passed(form: UploadForm, data: bytes, cuts: list[int]) -> bytes:
    out = b""
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        out += form.feed(data[start:end])
        assert data.startswith(out)
    assert b"--xyz--" not in out, "the provider has no end of the form yet"
    return out + form.finish()


@pytest.mark.parametrize("seed", range(60))
def test_everything_passes_unchanged_however_it_is_cut(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test
    cuts = sorted(chance.choices(range(len(WHOLE)), k=chance.choice([0, 1, 3, 40, 400])))
    lines = Lines()
    assert passed(UploadForm(TYPE, lines), WHOLE, cuts) == WHOLE
    assert (lines.content, lines.finished) == (CONTENT, True)


def test_files_of_other_purposes_are_not_read() -> None:
    data = part("purpose", b"user_data") + part("file", CONTENT, "a") + END
    lines = Lines()
    form = UploadForm(TYPE, lines)
    assert passed(form, data, [3, 90]) == data
    assert not form.is_batch
    assert (lines.content, lines.finished) == (b"", False)


REFUSED = {
    "purpose twice": PURPOSE + PURPOSE + part("file", b"x", "a") + END,
    "file twice": PURPOSE + part("file", b"x", "a") + part("file", b"y", "a") + END,
    "purpose behind the file": part("file", b"x", "a") + PURPOSE + END,
    "purpose as a file": part("purpose", b"batch", "a") + part("file", b"x", "a") + END,
    "another case": part("Purpose", b"batch") + part("file", b"x", "a") + END,
    "a list": part("purpose[]", b"batch") + part("file", b"x", "a") + END,
    "a space": part("purpose ", b"batch") + part("file", b"x", "a") + END,
    "an empty purpose": part("purpose", b"") + part("file", b"x", "a") + END,
    "a long purpose": part("purpose", b"b" * 300) + END,
    "no end": WHOLE[: -len(END)],
    "half an end": WHOLE[:-4],
    "something behind the end": WHOLE + part("purpose", b"user_data"),
    "a little behind the end": WHOLE + b"x",
    "another boundary first": b"x" + WHOLE,
    "a preamble": b"hello\r\n" + WHOLE,
    "text behind a boundary": WHOLE.replace(b"--xyz\r\n", b"--xyz \r\n", 1),
    "an encoded part": WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
    "a second name": WHOLE.replace(
        b"\r\n\r\n", b'\r\nContent-Disposition: form-data; name="file"\r\n\r\n', 1
    ),
    "an endless head": b"--xyz\r\nContent-Type: " + b"x" * 5000,
    "nothing": b"",
    "very many parts": b"".join(part(f"x{n}", b"") for n in range(257)) + END,
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_what_could_be_read_in_two_ways_is_refused(name: str, size: int) -> None:
    data = REFUSED[name]
    form = UploadForm(TYPE, Lines())

    def run() -> bytes:
        out = b"".join(form.feed(data[at : at + size]) for at in range(0, len(data), size))
        return out + form.finish()

    with pytest.raises(RequestMalformed):
        run()


@pytest.mark.parametrize("seed", range(200))
def test_a_form_in_pieces_is_read_as_a_whole_form_is(seed: int) -> None:
    """Changes that make a form bad for one reader make it bad for the other."""
    chance = random.Random(seed)  # noqa: S311 - a test
    data = bytearray(part("title", b"a text") + part("file", b"hello\r\n-", "a") + END)
    for _ in range(chance.choice([0, 1, 1, 2])):
        at = chance.randrange(len(data))
        data[at : at + chance.choice([0, 1])] = chance.choice([b"", b"-", b"\r", b"\n", b"\r\n"])
    whole = bytes(data)

    def refused_whole() -> bool:
        try:
            FormBody(whole, TYPE)
        except RequestMalformed:
            return True
        return False

    def refused_in_pieces() -> bool:
        form = UploadForm(TYPE, Lines())
        size = chance.choice([1, 5, 1000])
        try:
            out = b"".join(form.feed(whole[at : at + size]) for at in range(0, len(whole), size))
            assert out + form.finish() == whole
        except RequestMalformed:
            return True
        return False

    assert refused_whole() == refused_in_pieces()
