"""gunicorn's threaded worker, with few threads for slow clients and some reserved for carriers.

A thread gets a request when its head is complete. Until then the worker's main thread receives the
head, however many clients there are and however slow they are. Requests of carriers and of
monitoring may use every thread; all others leave some of them free.
"""

import errno
import socket
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import partial
from selectors import EVENT_READ
from time import monotonic
from typing import Any
from uuid import uuid4

from gunicorn.http.body import LengthReader
from gunicorn.workers.gthread import ThreadWorker
from typing_extensions import override

from vca.kit import json
from vca.kit.admission import LIMIT_NAME, RETRY_AFTER_S, Admission
from vca.kit.thread_pool import ThreadPool
from vca.kit.web import request_thread
from vca.kit.web.request_body import SocketBody
from vca.observability import log, metrics
from vca.servers.connection import Head, PolledConnection, to_client_socket
from vca.settings import settings_or_exit

# How long a client may take to send a head. A worker looks at it once a second.
HEAD_TIMEOUT_S = 10.0
# How many requests may wait for a thread, and how long. Further ones are refused at once.
MAX_QUEUED = 256
QUEUE_TIMEOUT_S = 5.0
# How long, and for how many bytes, a closed connection waits for its client to read the response.
_LINGER_S = 2.0
_LINGER_BYTES = 64 * 1024
_MAX_LINGERING = 256
_NO_FILES = (errno.EMFILE, errno.ENFILE)
_NO_CONNECTION = (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK)
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n"
StartResponse = Callable[..., Any]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class PooledThreadWorker(ThreadWorker):  # type: ignore[misc] # no stubs
    """A `gthread` worker that gives its threads complete heads, and reserves some of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._incomplete_heads: OrderedDict[PolledConnection, None] = OrderedDict()
        self._queue: deque[PolledConnection] = deque()
        self._lingering: OrderedDict[PolledConnection, _Linger] = OrderedDict()
        self._ordinary_running = 0
        self._max_ordinary: int = self.cfg.threads
        self._slow_responses: Admission | None = None

    @classmethod
    @override
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse to terminate TLS: the proxy does that."""
        super().check_config(cfg, log)
        if cfg.is_ssl:
            raise RuntimeError("VCA's worker does not terminate TLS: let the proxy do that")

    @override
    def get_thread_pool(self) -> Executor:
        """Return the pool of the threads that handle requests."""
        return ThreadPool(self.cfg.threads, name="request")

    @override
    def load_wsgi(self) -> None:
        """Load the app, and the settings for threads."""
        super().load_wsgi()
        app: WsgiApp = self.wsgi
        self.wsgi: WsgiApp = _CloseUnreadBodies(app)
        settings = settings_or_exit()
        if not settings.serves_relay:  # a voice WebSocket is a request that lasts as long as a call
            shares = settings.thread_shares
            self._max_ordinary = shares.ordinary
            self._slow_responses = Admission(
                "slow_responses",
                places=shares.slow_clients,
                refusal="Too many clients read their responses slowly.",
            )

    @override
    def accept(self, listener: Any) -> None:
        """Accept a connection; its first request is often there already."""
        try:
            accepted, address = listener.accept()
            client = to_client_socket(accepted, self._slow_responses)
        except OSError as error:
            if error.errno in _NO_CONNECTION:
                return
            if error.errno in _NO_FILES:  # the next poll tries again
                self._close_idle_connection()
                return
            raise
        self.nr_conns += 1
        server = listener.getsockname()
        conn = PolledConnection(self.cfg, client, address, server, self._linger)
        self.enqueue_req(conn)
        if self.nr_conns >= self.worker_connections:
            self._close_idle_connection(spared=conn)

    @override
    def enqueue_req(self, conn: PolledConnection) -> None:
        """Give the connection's next request to a thread when its head is complete."""
        conn.expect_head()
        match conn.receive_head():
            case Head.COMPLETE:
                self._admit(conn)
            case Head.INCOMPLETE:
                self._incomplete_heads[conn] = None
                self.poller.register(conn.sock, EVENT_READ, partial(self._on_head_readable, conn))
            case Head.TOO_LARGE:
                self._refuse(conn, _HEAD_TOO_LARGE)
            case Head.ENDED:
                self._drop(conn)

    @override
    def on_client_socket_readable(self, conn: PolledConnection, client: Any) -> None:
        """Receive the next request of a kept connection, which may just have been closed."""
        if not conn.is_closed:
            super().on_client_socket_readable(conn, client)

    def _on_head_readable(self, conn: PolledConnection, _sock: Any) -> None:
        if conn.is_closed:  # by the handler of an earlier event of the same poll
            return
        match conn.receive_head():
            case Head.INCOMPLETE:
                return
            case Head.COMPLETE:
                self._stop_waiting(conn)
                self._admit(conn)
            case Head.TOO_LARGE:
                self._stop_waiting(conn)
                self._refuse(conn, _HEAD_TOO_LARGE)
            case Head.ENDED:
                self._stop_waiting(conn)
                self._drop(conn)

    def _stop_waiting(self, conn: PolledConnection) -> None:
        del self._incomplete_heads[conn]
        self.poller.unregister(conn.sock)

    def _admit(self, conn: PolledConnection) -> None:
        """Give a request to a thread, queue it, or refuse it."""
        if conn.is_reserved:
            self._start(conn)
        elif self._ordinary_running < self._max_ordinary:
            conn.is_ordinary = True
            self._ordinary_running += 1
            self._start(conn)
        elif len(self._queue) < MAX_QUEUED:
            conn.waits_since = monotonic()
            self._queue.append(conn)
        else:
            self._refuse_as_busy(conn)

    def _start(self, conn: PolledConnection) -> None:
        conn.pass_head_on()
        super().enqueue_req(conn)

    @override
    def finish_request(self, conn: PolledConnection, fs: Any) -> None:
        """Keep or close the connection of a finished request, and start the next one."""
        self._release_place(conn)
        conn.is_waiting = False
        super().finish_request(conn, fs)

    def _release_place(self, conn: PolledConnection) -> None:
        """Start the next ordinary request, because this one has finished or now waits."""
        if conn.is_ordinary:
            conn.is_ordinary, conn.is_waiting = False, True
            self._ordinary_running -= 1
            if self._queue and self._ordinary_running < self._max_ordinary:
                self._admit(self._queue.popleft())

    def _resume(self, conn: PolledConnection) -> None:
        """Count an ordinary request again that has waited.

        More than the maximum may work then, but never more than the maximum and all places to wait:
        meanwhile no other one starts.
        """
        if conn.is_waiting:
            conn.is_ordinary, conn.is_waiting = True, False
            self._ordinary_running += 1

    @override
    def handle_request(self, req: Any, conn: PolledConnection) -> bool:
        """Handle a request, whose body is received only when the app asks for it."""
        reader = req.body.reader
        length = reader.length if isinstance(reader, LengthReader) else None
        if length != 0:
            req.body = SocketBody(conn.sock, conn.parser.unreader, length, req.force_close)
        defer = self.method_queue.defer
        with request_thread.serving_request(
            partial(defer, self._release_place, conn), partial(defer, self._resume, conn)
        ):
            is_kept: bool = super().handle_request(req, conn)
        return is_kept

    @override
    def murder_pending(self) -> None:
        """Close connections whose heads are late, and refuse requests that waited too long."""
        super().murder_pending()
        now = monotonic()
        while self._incomplete_heads:
            conn = next(iter(self._incomplete_heads))
            if conn.waits_since + HEAD_TIMEOUT_S > now:
                break
            self._stop_waiting(conn)
            self._drop(conn)
        while self._queue and self._queue[0].waits_since + QUEUE_TIMEOUT_S <= now:
            self._refuse_as_busy(self._queue.popleft())
        while self._lingering:
            conn, linger = next(iter(self._lingering.items()))
            if linger.ends_at > now:
                break
            self._end_lingering(conn)

    def _close_idle_connection(self, *, spared: PolledConnection | None = None) -> None:
        """Make room for the next connection, so that silent ones never keep others out."""
        oldest = next(iter(self._incomplete_heads), None)
        if oldest is not None and oldest is not spared:
            self._stop_waiting(oldest)
            self._drop(oldest)
        elif self.keepalived_conns:
            idle = self.keepalived_conns.popleft()
            self.poller.unregister(idle.sock)
            self._drop(idle)
        elif self._lingering:
            self._end_lingering(next(iter(self._lingering)))

    def _drop(self, conn: PolledConnection) -> None:
        self.nr_conns -= 1
        conn.close()

    def _refuse_as_busy(self, conn: PolledConnection) -> None:
        metrics.ADMISSIONS_REFUSED.inc(admission="requests")
        request_id = uuid4().hex
        log.get_logger().warning("worker.busy", request_id=request_id)
        self._refuse(conn, _busy_response(request_id))

    def _refuse(self, conn: PolledConnection, response: bytes) -> None:
        """Send a small response without a thread, and close the connection."""
        self.nr_conns -= 1
        try:
            conn.sock.send(response)
        except OSError:
            conn.close()
        else:
            self._linger(conn)

    def _linger(self, conn: PolledConnection) -> None:
        """Close a connection when its client has done so, without waiting for that.

        Bytes of the client that arrive after the end of a connection make the kernel discard the
        response (RFC 9112, section 9.6). gunicorn waits for them in its main thread.
        """
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, EVENT_READ, partial(self._on_lingering, conn))
        except (OSError, ValueError, KeyError):  # the app may have closed the socket
            conn.close()
            return
        self._lingering[conn] = _Linger()
        if len(self._lingering) > _MAX_LINGERING:
            self._end_lingering(next(iter(self._lingering)))

    def _on_lingering(self, conn: PolledConnection, _sock: Any) -> None:
        if conn.is_closed:
            return
        try:
            data = conn.sock.recv(_LINGER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        linger = self._lingering[conn]
        linger.bytes_left -= len(data)
        if not data or linger.bytes_left <= 0:
            self._end_lingering(conn)

    def _end_lingering(self, conn: PolledConnection) -> None:
        del self._lingering[conn]
        self.poller.unregister(conn.sock)
        conn.close()


class _Linger:
    """How long, and for how many bytes, a closed connection is still read."""

    def __init__(self) -> None:
        self.ends_at = monotonic() + _LINGER_S
        self.bytes_left = _LINGER_BYTES


class _CloseUnreadBodies:
    """The app; a response before the end of its request's body closes the connection."""

    def __init__(self, app: WsgiApp) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"]
        if not isinstance(body, SocketBody):
            return self._app(environ, start_response)

        def start(*args: Any) -> Any:
            body.prepare_response()
            return start_response(*args)

        return self._app(environ, start)


def _busy_response(request_id: str) -> bytes:
    problem = {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "code": "busy",
        "detail": "All threads of this process are in use; retry later.",
        "request_id": request_id,
        "limit": LIMIT_NAME,
    }
    body = json.dumps(problem)
    head = (
        "HTTP/1.1 429 Too Many Requests\r\n"
        "Connection: close\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Retry-After: {RETRY_AFTER_S}\r\n"
        f"X-Request-Id: {request_id}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode() + body
