"""Decode a response as it arrives: HTTP with the parser of Node.js, and its compression."""

import zlib
from collections.abc import Iterator
from typing import Any

import httptools
import httpx2

_STEP_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024


class ResponseTooLong(httpx2.ReadError):
    """A response body is longer than the limit, as sent or after decompression."""


class InvalidResponse(ValueError):
    """What the server sent is not an HTTP response, or not all of one."""


class ResponseParser:
    """Turns received bytes into the data of the response's body, however they are split.

    Models send a chunk for each token. All chunks that have arrived are decoded at once.
    """

    def __init__(self) -> None:
        self.status = 0
        """The status code; 0 until the headers have arrived."""
        self.headers: dict[str, str] = {}
        """The headers, with names in lower case."""
        self.is_complete = False
        """Whether the whole body has arrived."""
        self.is_reusable = False
        """Whether the connection accepts another request once the body has arrived."""
        self._head_bytes = 0
        self._parts: list[bytes] = []
        self._failure: InvalidResponse | None = None
        self._parser = httptools.HttpResponseParser(self)
        # Servers send all of this, and other clients accept it. These rules protect proxies, where
        # bytes of one response could become another one: here, bytes after a response are dropped
        # together with their connection.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_chunked_length=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )

    def feed(self, received: bytes) -> bytes:
        """Return the data of the body in these bytes, which are empty if the connection ended.

        Raises InvalidResponse. Data that arrived before an error is returned first.
        """
        if self._failure is not None:
            raise self._failure
        if not received:
            self._end()
            return b""
        try:
            self._parser.feed_data(received)
        except httptools.HttpParserError:
            self.is_reusable = False
            if not self.is_complete:
                self._failure = InvalidResponse("no valid HTTP response")
        if not self.status:
            self._head_bytes += len(received)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._failure = InvalidResponse("the headers are too long")
        if self._failure is not None and not self._parts:
            raise self._failure
        data = b"".join(self._parts)
        self._parts.clear()
        return data

    def _end(self) -> None:
        """Accept the end of the connection as that of a body without another end."""
        self.is_reusable = False
        has_own_end = "content-length" in self.headers or self._is_chunked()
        if not self.is_complete and (not self.status or has_own_end):
            raise InvalidResponse("the response is incomplete")
        self.is_complete = True

    def _is_chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "").lower().endswith("chunked")

    def close(self) -> None:
        """Break the reference cycle with the parser, so that no garbage collection is needed."""
        del self._parser

    # --- Called by the parser ---

    def on_message_begin(self) -> None:
        """Begin another message after an interim response, and only then."""
        if self.is_complete:
            raise InvalidResponse("data after the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header, or a trailer, which nobody reads."""
        if not self.status:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Read the status; an interim response (1xx) is skipped."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
        else:
            self.headers.clear()

    def on_body(self, data: bytes) -> None:
        """Add the data of a chunk, or of a part of one."""
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """End the response."""
        if self.status:
            self.is_complete = True
            self.is_reusable = self._parser.should_keep_alive()


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
