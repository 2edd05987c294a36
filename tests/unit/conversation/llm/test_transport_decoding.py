"""The parser of responses returns the same data however the response is split."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vca.conversation.llm.transport_decoding import InvalidResponse, ResponseParser

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
RESPONSES = {
    "one chunk": (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "several chunks": (CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
    "upper and lower case": (
        CHUNKED + b"A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n",
        b"0123456789" * 2 + b"a",
    ),
    "data with line ends": (CHUNKED + b"6\r\na\r\n\r\nb\r\n0\r\n\r\n", b"a\r\n\r\nb"),
    "extensions": (CHUNKED + b'3;a=b;c="d"\r\nabc\r\n0;last\r\n\r\n', b"abc"),
    "spaces after the size": (CHUNKED + b"3  \r\nabc\r\n0 \r\n\r\n", b"abc"),
    "leading zeros": (CHUNKED + b"0003\r\nabc\r\n000\r\n\r\n", b"abc"),
    "trailers": (CHUNKED + b"3\r\nabc\r\n0\r\nX-Usage: 3\r\nExpires: never\r\n\r\n", b"abc"),
    "no chunks": (CHUNKED + b"0\r\n\r\n", b""),
    "a length": (HEAD + b"Content-Length: 3\r\n\r\nabc", b"abc"),
    "a length and chunks": (
        HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"abc",
    ),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "no reason phrase": (b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "headers with bare LF": (b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", b"abc"),
    "a folded header": (HEAD + b"X-Note: one\r\n two\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "an interim response": (
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n" + CHUNKED + b"0\r\n\r\n",
        b"",
    ),
}


def _parse(parts: list[bytes]) -> bytes:
    parser = ResponseParser()
    data = b"".join(parser.feed(part) for part in parts)
    assert (parser.status, parser.is_complete) == (200, True)
    return data


@pytest.mark.parametrize(("response", "data"), RESPONSES.values(), ids=list(RESPONSES))
def test_a_response_is_parsed_however_it_is_split(response: bytes, data: bytes) -> None:
    assert _parse([response]) == data
    assert _parse([response[index : index + 1] for index in range(len(response))]) == data
    for position in range(1, len(response)):
        assert _parse([response[:position], response[position:]]) == data


@given(chunks=st.lists(st.binary(min_size=1)), cuts=st.lists(st.integers(1, 400)))
def test_any_data_in_any_chunks_is_returned_unchanged(chunks: list[bytes], cuts: list[int]) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    response = CHUNKED + body
    positions = sorted({0, *(min(cut, len(response)) for cut in cuts), len(response)})
    parts = [response[start:end] for start, end in pairwise(positions)]

    assert _parse(parts) == b"".join(chunks)


def test_the_names_of_headers_are_in_lower_case() -> None:
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nX-Name: \xe9\r\n\r\n")

    assert parser.status == 429
    assert parser.headers == {"retry-after": "3", "x-name": "é"}


@pytest.mark.parametrize(
    "size", [b"x", b"-3", b"+3", b"0x3", b"1_0", b"f" * 17], ids=lambda size: size.decode()
)
def test_a_size_that_is_no_number_is_an_error(size: bytes) -> None:
    with pytest.raises(InvalidResponse):
        ResponseParser().feed(CHUNKED + size + b"\r\nabc")


def test_data_before_an_error_is_returned_first() -> None:
    parser = ResponseParser()

    assert parser.feed(CHUNKED + b"3\r\nabc\r\nzz\r\n") == b"abc"
    with pytest.raises(InvalidResponse):
        parser.feed(b"more")


def test_data_is_returned_before_its_chunk_is_complete() -> None:
    parser = ResponseParser()

    assert parser.feed(CHUNKED + b"6\r\nabc") == b"abc"
    assert parser.feed(b"de") == b"de"
    assert not parser.is_complete


def test_endless_headers_are_an_error() -> None:
    parser = ResponseParser()
    parser.feed(HEAD + b"X-Long: " + b"a" * 40_000)

    with pytest.raises(InvalidResponse, match="too long"):
        parser.feed(b"a" * 40_000)


def test_the_end_of_the_connection_ends_a_body_without_another_end() -> None:
    parser = ResponseParser()

    assert parser.feed(HEAD + b"\r\nabc") == b"abc"
    assert not parser.is_complete
    assert parser.feed(b"") == b""
    assert (parser.is_complete, parser.is_reusable) == (True, False)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        CHUNKED + b"3\r\nabc\r\n",
        HEAD + b"Content-Length: 9\r\n\r\nabc",
    ],
    ids=["nothing", "headers", "chunks", "length"],
)
def test_the_end_of_the_connection_in_the_middle_is_an_error(start: bytes) -> None:
    parser = ResponseParser()
    if start:
        parser.feed(start)

    with pytest.raises(InvalidResponse):
        parser.feed(b"")


@pytest.mark.parametrize(
    ("response", "is_reusable"),
    [
        (CHUNKED + b"0\r\n\r\n", True),
        (HEAD + b"Content-Length: 0\r\n\r\n", True),
        (HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (CHUNKED + b"0\r\n\r\nHTTP/1.1 200 OK\r\n", False),
        (HEAD + b"Content-Length: 0\r\n\r\nabc", False),
        (HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\nabc", False),
    ],
)
def test_a_connection_is_reusable_after_exactly_one_response(
    response: bytes, is_reusable: bool
) -> None:
    parser = ResponseParser()
    parser.feed(response)

    assert (parser.is_complete, parser.is_reusable) == (True, is_reusable)
