"""A fake model as a server in a separate process that records the time of each turn."""

import asyncio
import json
import multiprocessing
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

TOKEN_INTERVAL_S = 0.02
TURN_MARK = re.compile(rb"turn-\d+-\d+-\d+")
_WORDS = ("I ", "see ", "and ", "have ", "noted ", "what ", "you ", "told ", "me ")
_RESPONSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@dataclass(frozen=True)
class AnswerShape:
    """How the model answers: the number of tokens and the seconds before the first of them."""

    tokens: int = 20
    first_token_s: float = 0.3


FAST = AnswerShape()
SLOW = AnswerShape(first_token_s=1.2)


@dataclass(frozen=True)
class FakeModel:
    """A running fake model: its address and the times of its turns."""

    port: int
    _pipe: Connection

    @property
    def url(self) -> str:
        """The base URL of the model's API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def durations_s(self) -> dict[str, float]:
        """Return the seconds from each turn's request to the last byte of its answer, by mark."""
        return self._request_times("took")

    def first_token_s(self) -> dict[str, float]:
        """Return the seconds from each turn's request to the first token of its answer, by mark."""
        return self._request_times("began")

    def set_shape(self, shape: AnswerShape) -> None:
        """Answer in this shape from now on."""
        self._pipe.send(shape)
        self._pipe.recv()

    def _request_times(self, kind: str) -> dict[str, float]:
        self._pipe.send(kind)
        times: dict[str, float] = self._pipe.recv()
        return times


@contextmanager
def serve_model(words: Sequence[str] = _WORDS) -> Iterator[FakeModel]:
    """Run the model's server, which repeats these words, until the block ends."""
    context = multiprocessing.get_context("spawn")
    parent_pipe, child_pipe = context.Pipe()
    process = context.Process(target=_run_process, args=(child_pipe, tuple(words)), daemon=True)
    process.start()
    try:
        yield FakeModel(parent_pipe.recv(), parent_pipe)
    finally:
        process.kill()
        process.join()


def _run_process(pipe: Connection, words: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    asyncio.run(_serve(pipe, words))


async def _serve(pipe: Connection, words: Sequence[str]) -> None:
    durations_s: dict[str, float] = {}
    first_token_s: dict[str, float] = {}
    shape = FAST

    async def handle_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                request = await _read_request(reader)
                await _answer_turn(request, writer, words, shape, first_token_s, durations_s)
        writer.close()

    server = await asyncio.start_server(handle_connection, "127.0.0.1", 0, backlog=512)
    pipe.send(server.sockets[0].getsockname()[1])
    while True:
        message = await asyncio.to_thread(pipe.recv)
        if isinstance(message, AnswerShape):
            shape = message
        pipe.send(durations_s if message == "took" else first_token_s)


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    """Return the body of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = re.findall(rb"(?i)content-length: *(\d+)", head)
    return await reader.readexactly(int(length))


async def _answer_turn(
    request: bytes,
    writer: asyncio.StreamWriter,
    words: Sequence[str],
    shape: AnswerShape,
    first_token_s: dict[str, float],
    durations_s: dict[str, float],
) -> None:
    """Answer one request; the mark in its body says which turn it belongs to."""
    started_at = time.perf_counter()
    marks = [mark.decode() for mark in TURN_MARK.findall(request)]
    writer.write(_RESPONSE_HEAD)
    for number in range(shape.tokens):
        await asyncio.sleep(
            started_at + shape.first_token_s + number * TOKEN_INTERVAL_S - time.perf_counter()
        )
        writer.write(_stream_event({"content": words[number % len(words)]}))
        if marks and not number:
            first_token_s[marks[-1]] = time.perf_counter() - started_at
    writer.write(
        _stream_event({}, finish_reason="stop")
        + _http_chunk(b"data: [DONE]\n\n")
        + _http_chunk(b"")
    )
    await writer.drain()
    if marks:
        durations_s[marks[-1]] = time.perf_counter() - started_at


def _stream_event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    event = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return _http_chunk(b"data: %s\n\n" % json.dumps({**event, "choices": [choice]}).encode())


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
