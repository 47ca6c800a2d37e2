"""Where a body ends, however its bytes arrive."""

from __future__ import annotations

import pytest

from keylease.primitives.http1.body import ChunkedBody, FixedBody, FramingInvalid
from keylease.primitives.http1.rendering import render_chunk


def feed(reader: FixedBody | ChunkedBody, raw: bytes, size: int) -> list[bytes]:
    pieces: list[bytes] = []
    for start in range(0, len(raw), size):
        data = raw[start : start + size]
        if reader.done:
            reader.rest += data
        else:
            pieces += reader.feed(data)
    return pieces


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_length_counts(size: int) -> None:
    reader = FixedBody(5)
    assert b"".join(feed(reader, b"helloGET /", size)) == b"hello"
    assert reader.done
    assert reader.rest == b"GET /"


def test_no_length_is_done_at_once() -> None:
    assert FixedBody(0).done


CHUNKED = (
    b'5\r\nhello\r\n1;name=value;other="quoted \\x"\r\n \r\n'.replace(b"\\x", b"x")
    + b"00C;flag\r\nwide\r\n world\r\n"
    b"0;last=1\r\nX-Trailer: a\r\nContent-Length: 7\r\n\r\nGET /"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_chunks_come_out_and_extensions_and_trailers_do_not(size: int) -> None:
    reader = ChunkedBody()
    assert b"".join(feed(reader, CHUNKED, size)) == b"hello wide\r\n world"
    assert reader.done
    assert reader.rest == b"GET /"


def test_one_chunk_is_one_piece() -> None:
    reader = ChunkedBody()
    assert reader.feed(b"2\r\nab\r\n1\r\nc\r\n3\r\nde") == [b"ab", b"c", b"de"]
    assert reader.feed(b"f\r\n0\r\n\r\n") == [b"f"]
    assert reader.done


@pytest.mark.parametrize("line", [b"b", b"B", b"0b", b"0000000b", b"b;a=b", b"0000000B;a"])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_a_size_has_up_to_eight_digits(line: bytes, size: int) -> None:
    reader = ChunkedBody()
    pieces = feed(reader, line + b"\r\nhello world\r\n0\r\n\r\nGET /", size)
    assert b"".join(pieces) == b"hello world"
    assert reader.done
    assert reader.rest == b"GET /"


@pytest.mark.parametrize("line", ["10", "1F", "0000012c", "abc", "9f;a", "ffff", "10000"])
@pytest.mark.parametrize("size", [3, 100_000])
def test_a_size_is_hexadecimal(line: str, size: int) -> None:
    reader = ChunkedBody()
    body = b"x" * int(line.partition(";")[0], 16)
    pieces = feed(reader, b"%b\r\n%b\r\n0\r\n\r\nGET /" % (line.encode(), body), size)
    assert b"".join(pieces) == body
    assert reader.rest == b"GET /"


@pytest.mark.parametrize("size", [1, 9, 10, 16, 255, 1023, 1024, 1025, 100_000])
def test_a_chunk_is_written_as_it_is_read(size: int) -> None:
    data = b"x" * size
    assert render_chunk(data) == b"%x\r\n%b\r\n" % (size, data)
    assert ChunkedBody().feed(render_chunk(data)) == [data]


def test_a_first_size_line_is_known_to_be_valid() -> None:
    reader = ChunkedBody()
    reader.feed(b"5")
    assert not reader.begun
    reader.feed(b"\r\n")
    assert reader.begun


@pytest.mark.parametrize(
    "raw",
    [
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\r\r\n",
        b"5\r\nhello\r\nzz\r\n",
        b"00000000b\r\nhello world\r\n",
        b"5 \r\nhello\r\n",
        b"5\nhello\n",
        b"\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"1_0\r\nhello hello hello\r\n",
        b'5;a="b\r\nhello\r\n',
        b"5;a=\r\nhello\r\n",
        b"5;a b\r\nhello\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n\rX",
        b"0\r\n: a\r\n\r\n",
        b"0\r\nA: b\x00\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_broken_framing_raises(raw: bytes, size: int) -> None:
    with pytest.raises(FramingInvalid):
        feed(ChunkedBody(), raw, size)
