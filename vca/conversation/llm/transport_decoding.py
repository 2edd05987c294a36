"""Decompress a response body as it arrives, within a bound."""

import zlib
from collections.abc import Iterator
from typing import Any

import httpx2

_STEP_BYTES = 64 * 1024


class ResponseTooLong(httpx2.ReadError):
    """A response body is longer than the limit, as sent or after decompression."""


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
