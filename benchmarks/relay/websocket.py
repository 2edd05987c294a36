"""An asyncio WebSocket client: two hundred connections in one event loop."""

import asyncio
import json
from collections import deque
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)


class ConnectionRejected(Exception):
    """The WebSocket was rejected or closed."""


class RelaySocket:
    """One open WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._frames: deque[dict[str, Any]] = deque()
        self._text = ""
        self._open = False

    @classmethod
    async def connect(cls, port: int, path: str, headers: dict[str, str]) -> "RelaySocket":
        """Open a WebSocket; raises ConnectionRejected."""
        socket = cls(*await asyncio.open_connection("127.0.0.1", port))
        extra_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        socket._send(Request(host="127.0.0.1", target=path, extra_headers=extra_headers))
        while not socket._open:
            await socket._read()
        return socket

    def send_frame(self, **frame: Any) -> None:
        """Send a frame."""
        self._send(TextMessage(json.dumps(frame)))

    async def receive_frame(self) -> dict[str, Any]:
        """Return the next frame; raises ConnectionRejected when the WebSocket was closed."""
        while not self._frames:
            await self._read()
        return self._frames.popleft()

    def close(self) -> None:
        """Close the WebSocket."""
        self._send(CloseConnection(1000))
        self._writer.close()

    def _send(self, event: Event) -> None:
        self._writer.write(self._ws.send(event))

    async def _read(self) -> None:
        data = await self._reader.read(65_536)
        if not data:
            raise ConnectionRejected("the connection was closed")
        self._ws.receive_data(data)
        for event in self._ws.events():
            self._handle_event(event)

    def _handle_event(self, event: Event) -> None:
        match event:
            case AcceptConnection():
                self._open = True
            case Ping():
                self._send(event.response())
            case TextMessage():
                self._text += event.data
                if event.message_finished:
                    self._frames.append(json.loads(self._text))
                    self._text = ""
            case RejectConnection() | CloseConnection():
                raise ConnectionRejected(repr(event))
