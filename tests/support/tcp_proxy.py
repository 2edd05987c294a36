"""A TCP proxy before the database, so that one test can cut it off while others use it."""

import selectors
import socket
import struct
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Literal, Self

from sqlalchemy import URL, make_url

Mode = Literal["open", "cut", "frozen"]
_CHUNK_BYTES = 65_536
# Closing a socket sends a reset, as when the server was killed.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class TcpProxy:
    """Listens on a port of 127.0.0.1 and forwards bytes.

    `cut` resets connections and refuses new ones, like a server that is down. `freeze` stops
    forwarding and accepts new connections without answering, like a server that is stopped or
    behind a dead network. `restore` ends both.
    """

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._mode: Mode = "open"
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._wake_sender, self._wake_receiver = socket.socketpair()
        self._mode_changes: list[Mode | None] = []
        self._thread = Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._change_mode(None)
        self._thread.join(timeout=10)
        for end in (self._wake_sender, self._wake_receiver):
            end.close()

    @property
    def url(self) -> str:
        """Return the URL of the database through the proxy."""
        proxy_url: URL = self._target.set(host="127.0.0.1", port=self.port, query={})
        return proxy_url.render_as_string(hide_password=False)

    def cut(self) -> None:
        self._change_mode("cut")

    def freeze(self) -> None:
        self._change_mode("frozen")

    def restore(self) -> None:
        self._change_mode("open")

    def _change_mode(self, mode: Mode | None) -> None:
        """Make the thread change its mode, and wait until it has."""
        self._mode_changes.append(mode)
        self._wake_sender.send(b"!")
        self._wake_sender.settimeout(10)
        self._wake_sender.recv(1)

    def _run(self) -> None:
        while True:
            with selectors.DefaultSelector() as selector:
                selector.register(self._wake_receiver, selectors.EVENT_READ)
                if self._mode == "open":
                    for connection in (self._listener, *self._pairs):
                        selector.register(connection, selectors.EVENT_READ)
                readable = {key.fileobj for key, _ in selector.select()}
            if self._wake_receiver in readable:
                is_over = not self._apply_mode_change()
                self._wake_receiver.send(b"!")
                if is_over:
                    return
                continue
            for sender in readable:
                assert isinstance(sender, socket.socket)
                self._forward(sender)

    def _apply_mode_change(self) -> bool:
        self._wake_receiver.recv(1)
        mode = self._mode_changes.pop(0)
        if mode in (None, "cut"):
            self._listener.close()
            for connection in list(self._pairs):
                self._close(connection)
        elif mode == "open" and self._mode == "cut":
            self._listener = self._listen(self.port)
        if mode is not None:
            self._mode = mode
        return mode is not None

    def _forward(self, connection: socket.socket) -> None:
        if connection is self._listener:
            self._accept()
        elif connection in self._pairs:
            try:
                data = connection.recv(_CHUNK_BYTES)
                if data:
                    self._pairs[connection].sendall(data)
                    return
            except OSError:
                pass
            self._close(connection)

    def _accept(self) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()
            server = self._connect()
            self._pairs[client], self._pairs[server] = server, client

    def _close(self, connection: socket.socket) -> None:
        other = self._pairs.pop(connection, None)
        if other is not None:
            self._pairs.pop(other, None)
        for end in (connection, other):
            if end is not None:
                if end.family != socket.AF_UNIX:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                end.close()

    def _connect(self) -> socket.socket:
        host = self._target.host or str(self._target.query.get("host", "127.0.0.1"))
        port = int(self._target.port or str(self._target.query.get("port", 5432)))
        if host.startswith("/"):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(f"{host}/.s.PGSQL.{port}")
            return connection
        return socket.create_connection((host, port), timeout=10)

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        return listener
