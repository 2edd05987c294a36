"""One model's answer, read in a thread of its own, so that waiting for it can end."""

from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import TypeAlias

from vca.conversation.llm import ModelClient, ModelError, ModelRequest, Piece, stopping
from vca.conversation.types import Tokens

THREAD_NAME = "model"
_AHEAD = 64  # pieces that a model may be ahead of the one who speaks them
_LINGER_S = 0.25


@dataclass(frozen=True)
class Over:
    """The answer is over: what it cost, if its client knows, or why it failed."""

    tokens: Tokens | None = None
    failure: ModelError | None = None


Item: TypeAlias = Piece | Over


class Reader:
    """Asks at once; `closing` it stops the model, and the thread ends by itself."""

    def __init__(self, client: ModelClient, request: ModelRequest) -> None:
        # Together a bounded `Queue`, which waits in Python code and takes twice the time a piece.
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._room = Semaphore(_AHEAD)
        self._stop = stopping.Stop()
        self._thread = Thread(
            # With the log's ids and the request's budget, which live in the context.
            target=copy_context().run,
            args=(self._read, client, request),
            name=THREAD_NAME,
            daemon=True,
        )
        self._thread.start()

    def next(self, within_s: float) -> Item | None:
        """What comes next, None if nothing came in time."""
        try:
            item = self._items.get(timeout=max(0.0, within_s))
        except Empty:
            return None
        self._room.release()
        return item

    def close(self) -> None:
        """Stop the model. Waits a moment for its thread, which has nothing left to wait for."""
        self._stop.ask()
        while self.next(0) is not None:
            pass
        self._thread.join(_LINGER_S)

    def _read(self, client: ModelClient, request: ModelRequest) -> None:
        # What is told if the client raises what it must not: that rises, and the call goes on.
        over = Over(failure=ModelError("The model's client failed.", failure="unavailable"))
        try:
            with stopping.heeding(self._stop):
                over = Over(tokens=self._relay(client, request))
        except ModelError as error:
            over = Over(failure=error)
        finally:
            self._hand_on(over)

    def _relay(self, client: ModelClient, request: ModelRequest) -> Tokens | None:
        with closing(client.stream(request)) as pieces:
            while not self._stop.asked:
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    tokens: Tokens | None = end.value
                    return tokens
                self._hand_on(piece)
        return None

    def _hand_on(self, item: Item) -> None:
        self._room.acquire()
        self._items.put(item)
