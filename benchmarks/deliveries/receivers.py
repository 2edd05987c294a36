"""Two webhook receivers in a separate process: one accepts deliveries, one never answers."""

import asyncio
import multiprocessing
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

_EVENT_ID = re.compile(rb"(?i)webhook-id: *evt_([0-9a-f]{32})")
_CONTENT_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")
_ACCEPTED_RESPONSE = b"HTTP/1.1 204 Taken\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Receivers:
    """The ports of the receivers, and the connection to their process."""

    responsive_port: int
    unresponsive_port: int
    _pipe: Connection

    def received_at(self) -> dict[str, float]:
        """Return when each event was first received, by event id.

        Times are seconds of the machine's monotonic clock.
        """
        self._pipe.send("came")
        received: dict[str, float] = self._pipe.recv()
        return received


@contextmanager
def serve_receivers() -> Iterator[Receivers]:
    """Run both receivers until the block ends."""
    context = multiprocessing.get_context("spawn")
    parent_pipe, child_pipe = context.Pipe()
    process = context.Process(target=_run_process, args=(child_pipe,), daemon=True)
    process.start()
    try:
        responsive_port, unresponsive_port = parent_pipe.recv()
        yield Receivers(responsive_port, unresponsive_port, parent_pipe)
    finally:
        process.kill()
        process.join()


def _run_process(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    asyncio.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    received: dict[str, float] = {}

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(_CONTENT_LENGTH.findall(head)[0]))
            received.setdefault(_EVENT_ID.findall(head)[0].decode(), time.monotonic())
            writer.write(_ACCEPTED_RESPONSE)
            await writer.drain()
        writer.close()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read(-1)  # until the sender gives up
        writer.close()

    responsive, unresponsive = [
        await asyncio.start_server(handler, "127.0.0.1", 0) for handler in (accept, stay_silent)
    ]
    pipe.send([server.sockets[0].getsockname()[1] for server in (responsive, unresponsive)])
    while True:
        await asyncio.to_thread(pipe.recv)
        pipe.send(received)
