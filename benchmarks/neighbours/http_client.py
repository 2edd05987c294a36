"""A small asyncio HTTP client whose connections stay open."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benchmarks import load

_READ_BYTES = 65_536
_CLOSED_BY_SERVER = b"connection: close"


@dataclass(frozen=True)
class Response:
    """The status and the body of a response."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class HttpClient:
    """Send requests to one port; each uses an idle connection or opens one."""

    def __init__(self, port: int, timeout_s: float, source_address: str | None = None) -> None:
        self._port, self._timeout_s = port, timeout_s
        self._local_address = (source_address, 0) if source_address else None
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: bytes) -> Response:
        """Return the response. Raises OSError, EOFError and TimeoutError.

        A request is repeated once if the server has closed an idle connection before it.
        """
        if self._idle:
            with suppress(ConnectionError, EOFError):
                return await self._exchange(*self._idle.pop(), request)
        connection = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=self._local_address
        )
        return await self._exchange(*connection, request)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> Response:
        try:
            writer.write(request)
            received = await asyncio.wait_for(_read_response(reader), self._timeout_s)
        except BaseException:
            writer.close()
            raise
        head, _, body = received.partition(b"\r\n\r\n")
        if _CLOSED_BY_SERVER in head.lower():
            writer.close()
        else:
            self._idle.append((reader, writer))
        return Response(int(head[9:12]), body)


async def _read_response(reader: asyncio.StreamReader) -> bytes:
    received = b""
    while not (_has_no_body(received) or load.is_complete(received)):
        chunk = await reader.read(_READ_BYTES)
        if not chunk:
            raise EOFError("closed before the response")
        received += chunk
    return received


def _has_no_body(received: bytes) -> bool:
    return received[9:12] == b"204" and received.endswith(b"\r\n\r\n")
