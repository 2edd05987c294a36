"""Decode a response body as it arrives: its chunks, and its compression within a bound."""

import re
import zlib
from collections.abc import Iterator
from typing import Any

import httpx2

_STEP_BYTES = 64 * 1024
_MAX_LINE_BYTES = 64 * 1024
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")


class ResponseTooLong(httpx2.ReadError):
    """A response body is longer than the limit, as sent or after decompression."""


class ChunkDecoder:
    """Turns the bytes of a chunked body (RFC 9112, section 7.1) into its data, however split.

    Models send a chunk for each token. Python's own client returns each of them by itself, and what
    follows would be done for each token instead of once for all that have arrived.
    """

    def __init__(self) -> None:
        self.is_complete = False
        """Whether the last chunk and the trailers have arrived."""
        self.has_excess = False
        """Whether the server sent more after them."""
        self._line_start = b""
        self._chunk_left = 0
        self._in_trailers = False

    def feed(self, received: bytes) -> bytes:
        """Return the data in these bytes; raises ValueError if they are not chunks."""
        if self._line_start:
            received, self._line_start = self._line_start + received, b""
        data = []
        position = 0
        while position < len(received) and not self.is_complete:
            if self._chunk_left:
                chunk = received[position : position + self._chunk_left]
                data.append(chunk)
                position += len(chunk)
                self._chunk_left -= len(chunk)
                continue
            line_end = received.find(b"\n", position)
            if line_end < 0:
                self._line_start = received[position:]
                if len(self._line_start) > _MAX_LINE_BYTES:
                    raise ValueError("the line is too long")
                break
            self._read_line(received[position:line_end].strip())
            position = line_end + 1
        self.has_excess = self.is_complete and position < len(received)
        return b"".join(data)

    def _read_line(self, line: bytes) -> None:
        if self._in_trailers:
            self.is_complete = not line
        elif line:  # an empty line ends the data of the chunk before
            size = line.partition(b";")[0].rstrip()
            if _CHUNK_SIZE.fullmatch(size) is None:
                raise ValueError("the size of a chunk is not a number")
            self._chunk_left = int(size, 16)
            self._in_trailers = self._chunk_left == 0


def decompress(data: Iterator[bytes], encoding: str, *, max_bytes: int) -> Iterator[bytes]:
    """Yield the decompressed data as it arrives.

    Raises ResponseTooLong beyond `max_bytes`, and httpx2.DecodingError if the encoding is unknown
    or the data is invalid.
    """
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise httpx2.DecodingError("unknown content encoding")
    decompressor: Any = None
    size = 0
    for compressed in data:
        while compressed:
            if decompressor is None or decompressor.eof:
                decompressor = _create_decompressor(compressed)
            try:
                decompressed = decompressor.decompress(compressed, _STEP_BYTES)
            except zlib.error as error:
                raise httpx2.DecodingError("invalid compressed data") from error
            size += len(decompressed)
            if size > max_bytes:
                raise ResponseTooLong("the answer is too long")
            if decompressed:
                yield decompressed
            compressed = decompressor.unconsumed_tail or decompressor.unused_data


def _create_decompressor(compressed: bytes) -> Any:
    # The low four bits of zlib's first byte are 8; gzip's first byte is 0x1f. "deflate" should mean
    # zlib, but some servers send it without a header.
    has_header = compressed[0] == 0x1F or compressed[0] & 0x0F == 8
    return zlib.decompressobj(wbits=47 if has_header else -15)
