"""A relay before a database server, so that one test's server can be away while others use it."""

import selectors
import socket
import struct
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Literal, Self

from sqlalchemy import URL, make_url

Mode = Literal["open", "cut", "frozen"]
_CHUNK = 65_536
# Closing resets, as a server does that was killed.
_AT_ONCE = struct.pack("ii", 1, 0)


class Relay:
    """Listens on a port of 127.0.0.1 and passes bytes on, until it is told to do otherwise.

    `cut`: connections are reset and new ones refused, as by a server that is down. `freeze`:
    connections stand still and new ones are accepted but never answered, as by a server that is
    stopped or behind a dead network. `restore` ends both.
    """

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._mode: Mode = "open"
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._waker, self._woken = socket.socketpair()
        self._orders: list[Mode | None] = []
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
        self._order(None)
        self._thread.join(timeout=10)
        for one in (self._waker, self._woken):
            one.close()

    @property
    def url(self) -> str:
        """The database's URL by way of this relay."""
        through: URL = self._target.set(host="127.0.0.1", port=self.port, query={})
        return through.render_as_string(hide_password=False)

    def cut(self) -> None:
        self._order("cut")

    def freeze(self) -> None:
        self._order("frozen")

    def restore(self) -> None:
        self._order("open")

    def _order(self, mode: Mode | None) -> None:
        """Tell the thread, and wait until it has done so."""
        self._orders.append(mode)
        self._waker.send(b"!")
        self._waker.settimeout(10)
        self._waker.recv(1)

    def _run(self) -> None:
        while True:
            with selectors.DefaultSelector() as selector:
                selector.register(self._woken, selectors.EVENT_READ)
                if self._mode == "open":
                    for one in (self._listener, *self._pairs):
                        selector.register(one, selectors.EVENT_READ)
                ready = {key.fileobj for key, _ in selector.select()}
            if self._woken in ready:
                ended = not self._obey()
                self._woken.send(b"!")
                if ended:
                    return
                continue
            for one in ready:
                self._pass_on(one)  # type: ignore[arg-type] # only sockets were registered

    def _obey(self) -> bool:
        self._woken.recv(1)
        mode = self._orders.pop(0)
        if mode in (None, "cut"):
            self._listener.close()
            for one in list(self._pairs):
                self._close(one)
        elif mode == "open" and self._mode == "cut":
            self._listener = self._listen(self.port)
        if mode is not None:
            self._mode = mode
        return mode is not None

    def _pass_on(self, one: socket.socket) -> None:
        if one is self._listener:
            self._accept()
        elif one in self._pairs:
            try:
                data = one.recv(_CHUNK)
                if data:
                    self._pairs[one].sendall(data)
                    return
            except OSError:
                pass
            self._close(one)

    def _accept(self) -> None:
        with suppress(OSError):
            near, _ = self._listener.accept()
            far = self._connect()
            self._pairs[near], self._pairs[far] = far, near

    def _close(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        if other is not None:
            self._pairs.pop(other, None)
        for end in (one, other):
            if end is not None:
                if end.family != socket.AF_UNIX:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                end.close()

    def _connect(self) -> socket.socket:
        host = self._target.host or str(self._target.query.get("host", "127.0.0.1"))
        port = int(self._target.port or str(self._target.query.get("port", 5432)))
        if host.startswith("/"):
            far = socket.socket(socket.AF_UNIX)
            far.connect(f"{host}/.s.PGSQL.{port}")
            return far
        return socket.create_connection((host, port), timeout=10)

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        return listener
