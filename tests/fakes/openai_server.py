"""An HTTP server on loopback that speaks OpenAI's streaming format, and misbehaves on demand."""

import json
import random
import select
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event, Thread
from typing import Any

PORTS = range(20_000, 30_000)
TEXT = "Hello there. How can I help you today?"
KEY_LEAKING_MESSAGE = "Incorrect API key provided: {key}. Ask somebody."


@dataclass(frozen=True)
class ReceivedRequest:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class OpenAIServer(ThreadingHTTPServer):
    """Each request uses the next behaviour of `set_behaviours`; the last one is repeated."""

    daemon_threads = False
    request_queue_size = 64

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[ReceivedRequest] = []
        self.accepted_count = 0
        self.release = Event()
        self.client_disconnected = Event()
        self._open_connections: set[socket.socket] = set()
        self._changed = Condition()
        self._behaviours: list[Callable[[_Handler], None]] = [ok]
        self._tls = tls
        _bind(lambda port: super(OpenAIServer, self).__init__(("127.0.0.1", port), _Handler))

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.server_port}/v1"

    def set_behaviours(self, *behaviours: Callable[["_Handler"], None]) -> None:
        self._behaviours = list(behaviours)

    def next_behaviour(self) -> Callable[["_Handler"], None]:
        return self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]

    def wait_all_closed(self, within_s: float = 5.0, *, count: int = 0) -> bool:
        """Wait until only `count` connections are open; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._open_connections) == count, within_s)

    def server_bind(self) -> None:
        # HTTPServer.server_bind() would look up the host name, which may be slow.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        with self._changed:
            self.accepted_count += 1
            self._open_connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open_connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disappear: tests do it on purpose."""

    def stop(self) -> None:
        self.release.set()
        self.shutdown()
        with self._changed:
            for connection in self._open_connections:
                # SSLSocket.shutdown() would drop the encryption while another thread uses the
                # socket.
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self.server_close()


@contextmanager
def openai_server(tls: ssl.SSLContext | None = None) -> Iterator[OpenAIServer]:
    server = OpenAIServer(tls)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def _bind(bind: Callable[[int], None]) -> None:
    for port in random.sample(PORTS, 200):
        try:
            return bind(port)
        except OSError:
            continue
    raise RuntimeError("no free port")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: OpenAIServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(ReceivedRequest(self.path, headers, json.loads(body)))
        self.server.next_behaviour()(self)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def begin_response(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        response_headers = {
            "content-type": "text/event-stream",
            "transfer-encoding": "chunked",
            **headers,
        }
        for name, value in response_headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def send_event(self, data: object) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        self.send_chunk(f"data: {text}\n\n".encode())

    def send_texts(self, *texts: str) -> None:
        for text in texts:
            self.send_event(delta(content=text))

    def finish_stream(self) -> None:
        self.send_event(delta(finish_reason="stop"))
        self.send_event("[DONE]")
        self.send_chunk(b"")

    def drip_bytes(self, data: bytes) -> None:
        """Send one byte at a time until the test ends."""
        for byte in data:
            if self.server.release.wait(0.05):
                break
            self.wfile.write(bytes([byte]))
        self.close_connection = True

    def is_disconnected(self) -> bool:
        """Return whether the client has closed the connection, and tell the test."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        self.close_connection = bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        if self.close_connection:
            self.server.client_disconnected.set()
        return self.close_connection

    def reset_connection(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


def delta(*, finish_reason: str | None = None, **content: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": content, "finish_reason": finish_reason}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"} | {
        "choices": [choice]
    }


def ok(handler: _Handler) -> None:
    if "tool_choice" in handler.server.requests[-1].body:
        ok_with_required_tool(handler)
    else:
        ok_with_text(handler)


def ok_with_text(handler: _Handler) -> None:
    handler.begin_response()
    handler.send_event(delta(role="assistant", content=""))
    handler.send_texts(*(word + " " for word in TEXT.split(" ")[:-1]))
    handler.server.release.wait(0.02)  # else a client may read the whole text at once
    handler.send_texts(TEXT.split(" ")[-1])
    # The last chunk of some endpoints contains the usage and no choice.
    handler.send_event({**delta(), "choices": [], "usage": None})
    handler.finish_stream()


def ok_with_required_tool(handler: _Handler) -> None:
    name = handler.server.requests[-1].body["tools"][0]["function"]["name"]
    arguments = json.dumps({"summary": "A boiler is broken.", "outcome": "unresolved"})
    handler.begin_response()
    for event in tool_deltas(name, arguments[:9], arguments[9:]):
        handler.send_event(event)
    handler.send_event(usage_event(120, 9))
    handler.finish_stream()


def tool_deltas(
    name: str, *arguments: str, index: int | None = 0, call_id: str | None = "call_1"
) -> list[dict[str, Any]]:
    """Return the events of one tool call: first its name, then its arguments in parts."""
    parts: list[dict[str, Any]] = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
    ]
    parts += [{"function": {"arguments": part}} for part in arguments]
    numbered = [part if index is None else {"index": index, **part} for part in parts]
    return [delta(tool_calls=[part]) for part in numbered]


def usage_event(prompt: Any, completion: Any) -> dict[str, Any]:
    """Return the last event of an endpoint that reports the usage."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 0}
    return {**delta(), "choices": [], "usage": usage}


def reject_parameter(parameter: str) -> Any:
    """Return a behaviour that replies 400 to this parameter, as strict endpoints do."""

    def behave(handler: _Handler) -> None:
        if parameter in handler.server.requests[-1].body:
            error_response(400, {"code": "unknown_parameter", "param": parameter})(handler)
        else:
            ok(handler)

    return behave


def ok_then_close(handler: _Handler) -> None:
    ok(handler)
    handler.close_connection = True


def slow_first_token(handler: _Handler) -> None:
    handler.begin_response()
    handler.server.release.wait(0.3)
    handler.send_texts("At last.")
    handler.finish_stream()


def hang_after_done(handler: _Handler) -> None:
    """Send `[DONE]` and keep the connection open."""
    handler.begin_response()
    handler.send_texts("Done.")
    handler.send_event("[DONE]")
    handler.server.release.wait()


def hang(handler: _Handler) -> None:
    handler.close_connection = True
    handler.server.release.wait()


def hang_after_chunk(handler: _Handler) -> None:
    handler.begin_response()
    handler.send_texts("One moment.")
    hang(handler)


def stream_until_disconnect(handler: _Handler) -> None:
    """Send a text every 10 ms until the client disconnects."""
    handler.begin_response()
    while not (handler.server.release.wait(0.01) or handler.is_disconnected()):
        handler.send_texts("and so on ")


def wait_for_disconnect(handler: _Handler) -> None:
    """Send one text, then nothing until the client disconnects."""
    handler.begin_response()
    handler.send_texts("One moment.")
    while not (handler.server.release.wait(0.01) or handler.is_disconnected()):
        pass


def drip_body(handler: _Handler) -> None:
    handler.begin_response()
    handler.drip_bytes(b"0" * 1000)


def drip_events(handler: _Handler) -> None:
    handler.begin_response()
    while not handler.server.release.wait(0.05):
        handler.send_texts("a ")
    handler.close_connection = True


def drip_headers(handler: _Handler) -> None:
    handler.drip_bytes(b"HTTP/1.1 200 OK\r\nx-slow: " + b"x" * 1000)


def drip_an_error(handler: _Handler) -> None:
    handler.begin_response(500)
    handler.drip_bytes(b"0" * 1000)


def error_response(code: int, error: dict[str, Any] | None = None, **headers: str) -> Any:
    """Return a behaviour that replies with an error that contains the key, as some servers do."""

    def refuse(handler: _Handler) -> None:
        message = KEY_LEAKING_MESSAGE.format(key=handler.headers["authorization"])
        json_response(code, {"error": {"message": message, **(error or {})}}, **headers)(handler)

    return refuse


def json_response(code: int, content: Any, **headers: str) -> Any:
    """Return a behaviour that replies with a JSON document."""

    def respond(handler: _Handler) -> None:
        body = dump(content).encode()
        handler.send_response(code)
        length = {"content-type": "application/json", "content-length": str(len(body))}
        for name, value in {**length, **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def dump(value: object) -> str:
    return json.dumps(value)


def stream_events(*events: object) -> Any:
    """Return a behaviour that streams these events and `[DONE]`."""

    def stream(handler: _Handler) -> None:
        handler.begin_response()
        for event in events:
            handler.send_event(event)
        handler.send_event("[DONE]")
        handler.send_chunk(b"")

    return stream


def html_page(handler: _Handler) -> None:
    """Send an HTML page instead of a stream, as a captive portal does."""
    handler.begin_response(content_type="text/html")
    handler.send_chunk(b"<html><body>Sign in</body></html>")
    handler.send_chunk(b"")


def not_http(handler: _Handler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    handler.close_connection = True


def reset_at_once(handler: _Handler) -> None:
    handler.reset_connection()


def reset_in_the_middle(handler: _Handler) -> None:
    handler.begin_response()
    handler.send_texts("I will ", "now ")
    handler.wfile.flush()
    handler.reset_connection()


def cut_in_the_middle(handler: _Handler) -> None:
    handler.begin_response()
    handler.send_texts("I will ", "now ")
    handler.close_connection = True


def endless_events(handler: _Handler) -> None:
    handler.begin_response()
    while not handler.server.release.is_set():
        handler.send_texts("and so on " * 100)


def endless_line(handler: _Handler) -> None:
    handler.begin_response()
    while not handler.server.release.is_set():
        handler.send_chunk(b"x" * 65_536)


def endless_error(handler: _Handler) -> None:
    handler.begin_response(500)
    while not handler.server.release.is_set():
        handler.send_chunk(b"x" * 65_536)
