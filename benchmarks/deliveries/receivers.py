"""Two receivers in a process of their own: one takes what it is sent, one never answers."""

import asyncio
import multiprocessing
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

_ID = re.compile(rb"(?i)webhook-id: *evt_([0-9a-f]{32})")
_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")
_TAKEN = b"HTTP/1.1 204 Taken\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Receivers:
    """Where they listen, and what came when."""

    listening: int
    dead: int
    _line: Connection

    def came_at(self) -> dict[str, float]:
        """When each event first came, in seconds of the machine's monotonic clock, by its id."""
        self._line.send("came")
        came: dict[str, float] = self._line.recv()
        return came


@contextmanager
def served() -> Iterator[Receivers]:
    """Both, until the block ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_main, args=(theirs,), daemon=True)
    process.start()
    try:
        yield Receivers(*ours.recv(), ours)
    finally:
        process.kill()
        process.join()


def _main(line: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    asyncio.run(_serve(line))


async def _serve(line: Connection) -> None:
    came: dict[str, float] = {}

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(_LENGTH.findall(head)[0]))
            came.setdefault(_ID.findall(head)[0].decode(), time.monotonic())
            writer.write(_TAKEN)
            await writer.drain()
        writer.close()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read(-1)  # until the sender gives up
        writer.close()

    listening, dead = [await asyncio.start_server(do, "127.0.0.1", 0) for do in (take, hold)]
    line.send([server.sockets[0].getsockname()[1] for server in (listening, dead)])
    while True:
        await asyncio.to_thread(line.recv)
        line.send(came)
