"""A fake model as a server in a process of its own, which remembers how long each turn took it."""

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

FIRST_TOKEN_S = 0.3
TOKENS = 20
EVERY_S = 0.02
MARK = re.compile(rb"turn-\d+-\d+-\d+")
_WORDS = ("I ", "see ", "and ", "have ", "noted ", "what ", "you ", "told ", "me ")
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Model:
    """A running model: where it is, and what its turns took it."""

    port: int
    _line: Connection

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def took_s(self) -> dict[str, float]:
        """Seconds from a turn's request to the last byte of its answer, by the turn's mark."""
        return self._asked("took")

    def began_s(self) -> dict[str, float]:
        """The same to the first token of the answer."""
        return self._asked("began")

    def _asked(self, what: str) -> dict[str, float]:
        self._line.send(what)
        took: dict[str, float] = self._line.recv()
        return took


@contextmanager
def served(words: Sequence[str] = _WORDS) -> Iterator[Model]:
    """The model's server, which says these words over and over, until the block ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_main, args=(theirs, tuple(words)), daemon=True)
    process.start()
    try:
        yield Model(ours.recv(), ours)
    finally:
        process.kill()
        process.join()


def _main(line: Connection, words: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    asyncio.run(_serve(line, words))


async def _serve(line: Connection, words: Sequence[str]) -> None:
    took: dict[str, float] = {}
    began: dict[str, float] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await _turn(reader, writer, words, began, took)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512)
    line.send(server.sockets[0].getsockname()[1])
    while True:
        asked = await asyncio.to_thread(line.recv)
        line.send(took if asked == "took" else began)


async def _turn(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    words: Sequence[str],
    first: dict[str, float],
    took: dict[str, float],
) -> None:
    """One answer: a mark in what was asked says which turn it is of."""
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = re.findall(rb"(?i)content-length: *(\d+)", head)
    asked = await reader.readexactly(int(length))
    began = time.perf_counter()
    marks = [mark.decode() for mark in MARK.findall(asked)]
    writer.write(_HEAD)
    for number in range(TOKENS):
        await asyncio.sleep(began + FIRST_TOKEN_S + number * EVERY_S - time.perf_counter())
        writer.write(_event({"content": words[number % len(words)]}))
        if marks and not number:
            first[marks[-1]] = time.perf_counter() - began
    writer.write(_event({}, finish_reason="stop") + _chunk(b"data: [DONE]\n\n") + _chunk(b""))
    await writer.drain()
    if marks:
        took[marks[-1]] = time.perf_counter() - began


def _event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    event = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return _chunk(b"data: %s\n\n" % json.dumps({**event, "choices": [choice]}).encode())


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
