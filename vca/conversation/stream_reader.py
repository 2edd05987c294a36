"""Read one model's answer in a separate thread, so that the wait for it can time out.

The thread passes text on when it may complete something that can be spoken. Models send a word at a
time, and waking the consumer for each word would cost more CPU time than all that it does with it.
"""

import re
from concurrent.futures import wait
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Semaphore
from time import monotonic
from typing import TypeAlias

from vca.conversation import speech_text
from vca.conversation.llm import (
    AnswerSummary,
    Chunk,
    ModelClient,
    ModelError,
    ModelRequest,
    Reasoning,
    cancellation,
)
from vca.kit.thread_pool import ThreadPool

THREAD_NAME = "model"
_MAX_BUFFERED_CHUNKS = 64  # how far the model may be ahead of the consumer
_JOIN_TIMEOUT_S = 0.25
_MAX_THREADS = 1_000  # more than the turns of any process, so that no request waits for another
# Text without one of these completes no spoken chunk. The text after one of them may complete it.
_CHUNK_MARK = re.compile(r"[^\w\s'’]|\n")
_MAX_HELD_CHARS = 200
_NO_SUMMARY = AnswerSummary()
# Threads start on demand, so after the fork, and are used again: starting one for each request
# would take a tenth of the CPU time of reading its answer.
_thread_pool = ThreadPool(_MAX_THREADS, name=THREAD_NAME)


@dataclass(frozen=True)
class StreamEnd:
    """The end of the answer: its summary, or why it failed."""

    summary: AnswerSummary = _NO_SUMMARY
    failure: ModelError | None = None


StreamItem: TypeAlias = Chunk | Reasoning | StreamEnd


class StreamReader:
    """Starts the request at once; `close` stops the model, and the thread ends by itself."""

    def __init__(self, client: ModelClient, request: ModelRequest) -> None:
        # These two replace a bounded `Queue`, which takes twice as long for each chunk.
        self._items: SimpleQueue[StreamItem] = SimpleQueue()
        self._free_slots = Semaphore(_MAX_BUFFERED_CHUNKS)
        self._cancel_token = cancellation.CancelToken()
        self._outer_token = cancellation.current_token()
        self._outer_callback = ExitStack()
        self._has_ended = False
        self._held_text = ""
        self._passes_next = True  # the first text, from which the latency is measured
        self.text_arrived_at = monotonic()
        """When the model last sent text that is not white space."""
        # Copy the context for the log's ids and the request's deadline.
        self._future = _thread_pool.submit(copy_context().run, self._read, client, request)
        if self._outer_token is not None:
            self._outer_callback.enter_context(self._outer_token.on_cancel(self._cancel))

    def next_item(self, within_s: float) -> StreamItem | None:
        """Return the next item, or None if nothing arrived in time.

        Raises Cancelled if the caller's own token is cancelled.
        """
        item = self._take_item(within_s)
        if self._outer_token is not None and self._outer_token.cancelled:
            raise cancellation.Cancelled
        return item

    def _take_item(self, within_s: float) -> StreamItem | None:
        try:
            item = self._items.get(timeout=max(0.0, within_s))
        except Empty:
            return None
        self._free_slots.release()
        self._has_ended = isinstance(item, StreamEnd)
        return item

    def close(self) -> None:
        """Stop the model and wait briefly for its thread, which has nothing left to wait for."""
        self._outer_callback.close()
        if self._has_ended and not self._cancel_token.cancelled:
            return  # the thread has done all of its work
        self._cancel_token.cancel()
        while self._take_item(0) is not None:
            pass
        wait([self._future], timeout=_JOIN_TIMEOUT_S)

    def _cancel(self) -> None:
        """Stop the model and wake the consumer, which may wait for a model that sends nothing."""
        self._cancel_token.cancel()
        self._items.put(StreamEnd())

    def _read(self, client: ModelClient, request: ModelRequest) -> None:
        # Sent if the client raises an unexpected error: the error propagates in this thread, and
        # the call continues.
        stream_end = StreamEnd(
            failure=ModelError("The model client failed.", failure="unavailable")
        )
        try:
            with cancellation.cancel_scope(self._cancel_token):
                stream_end = StreamEnd(self._forward_chunks(client, request))
        except ModelError as error:
            stream_end = StreamEnd(failure=error)
        finally:
            self._pass_text()
            self._put(stream_end)

    def _forward_chunks(self, client: ModelClient, request: ModelRequest) -> AnswerSummary:
        with client.stream(request) as answer:
            chunks = iter(answer)
            while not self._cancel_token.cancelled:
                chunk = next(chunks, None)
                if chunk is None:
                    return answer.outcome
                if isinstance(chunk, str):
                    self._add_text(chunk)
                else:
                    self._pass_text()
                    self._put(chunk)
        return _NO_SUMMARY

    def _add_text(self, text: str) -> None:
        if not text.isspace():
            self.text_arrived_at = monotonic()
        self._held_text += text
        has_mark = _CHUNK_MARK.search(text) is not None
        if has_mark or self._passes_next or len(self._held_text) > _MAX_HELD_CHARS:
            self._passes_next = has_mark or (
                self._passes_next and not speech_text.is_speakable(text)
            )
            self._pass_text()

    def _pass_text(self) -> None:
        if self._held_text:
            text, self._held_text = self._held_text, ""
            self._put(text)

    def _put(self, item: StreamItem) -> None:
        self._free_slots.acquire()
        self._items.put(item)
