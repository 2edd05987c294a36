"""The decoder of chunked bodies returns the same data however they are split."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vca.conversation.llm.transport_decoding import ChunkDecoder

BODIES = {
    "one chunk": (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "several chunks": (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
    "upper and lower case": (
        b"A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n",
        b"0123456789" * 2 + b"a",
    ),
    "data with line ends": (b"6\r\na\r\n\r\nb\r\n0\r\n\r\n", b"a\r\n\r\nb"),
    "extensions": (b'3;a=b;c="d"\r\nabc\r\n0;last\r\n\r\n', b"abc"),
    "spaces after the size": (b"3  \r\nabc\r\n0 \r\n\r\n", b"abc"),
    "leading zeros": (b"0003\r\nabc\r\n000\r\n\r\n", b"abc"),
    "trailers": (b"3\r\nabc\r\n0\r\nX-Usage: 3\r\nExpires: never\r\n\r\n", b"abc"),
    "bare LF": (b"3\nabc\n0\n\n", b"abc"),
    "empty": (b"0\r\n\r\n", b""),
}


def _decode(parts: list[bytes]) -> bytes:
    decoder = ChunkDecoder()
    data = b"".join(decoder.feed(part) for part in parts)
    assert decoder.is_complete
    assert not decoder.has_excess
    return data


@pytest.mark.parametrize(("body", "data"), BODIES.values(), ids=list(BODIES))
def test_a_body_is_decoded_however_it_is_split(body: bytes, data: bytes) -> None:
    assert _decode([body]) == data
    assert _decode([body[index : index + 1] for index in range(len(body))]) == data
    for position in range(len(body)):
        assert _decode([body[:position], body[position:]]) == data


@given(chunks=st.lists(st.binary(min_size=1)), cuts=st.lists(st.integers(0, 400)))
def test_any_data_in_any_chunks_is_returned_unchanged(chunks: list[bytes], cuts: list[int]) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    positions = sorted({0, *(min(cut, len(body)) for cut in cuts), len(body)})
    parts = [body[start:end] for start, end in pairwise(positions)]

    assert _decode(parts) == b"".join(chunks)


@pytest.mark.parametrize(
    "body",
    [b"x\r\nabc", b"-3\r\nabc", b"+3\r\nabc", b"0x3\r\nabc", b"1_0\r\nabc", b"f" * 16 + b"\r\n"],
)
def test_a_size_that_is_no_number_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="size of a chunk"):
        ChunkDecoder().feed(body)


def test_data_is_returned_before_its_chunk_is_complete() -> None:
    decoder = ChunkDecoder()

    assert decoder.feed(b"6\r\nabc") == b"abc"
    assert decoder.feed(b"de") == b"de"
    assert not decoder.is_complete


def test_a_line_without_an_end_is_bounded() -> None:
    decoder = ChunkDecoder()
    decoder.feed(b"3;" + b"a" * 40_000)

    with pytest.raises(ValueError, match="too long"):
        decoder.feed(b"a" * 40_000)


def test_bytes_after_the_end_are_reported() -> None:
    decoder = ChunkDecoder()

    assert decoder.feed(b"3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK") == b"abc"
    assert (decoder.is_complete, decoder.has_excess) == (True, True)
