"""A turn over HTTP: a carrier waits for one answer, and a caller should not hear silence.

The turn runs in a thread of its own. What it has said after a moment, if anything, is the answer,
with the word to come back for the rest; once the rest is on record it is told, whichever process
has spoken it.
"""

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from time import monotonic, sleep

from vca.conversation.llm.models import Models
from vca.observability import log
from vca.telephony.types import Poll
from vca.tenant.calls.core.call_types import CallRef, SpokenChunk, TurnResult
from vca.tenant.calls.turns import turn_handler

POLL = Poll()
# Carriers are answered within a second, so that each of them sees that we live.
RESPOND_AFTER_S = 0.9
# By then there should be something to say.
_FILLER_AFTER_S = 0.7
# The longest that a turn takes: two models, each given up after four seconds, and the database.
_MAX_TURN_S = 12.0
# Each look is a transaction. What a caller has just been told takes longer to hear than any pause.
_MIN_POLL_PAUSE_S, _MAX_POLL_PAUSE_S = 0.05, 0.4
_ChunkQueue = SimpleQueue[SpokenChunk | None]


@dataclass
class PartialTurn:
    """What was said so far; `outcome` None: there is more to come."""

    chunks: list[SpokenChunk] = field(default_factory=list)
    result: TurnResult | None = None


def start_turn(turn: Generator[SpokenChunk, None, TurnResult]) -> PartialTurn:
    """Run a turn for a moment; it goes on by itself after that. Raises what the turn raises."""
    queue: _ChunkQueue = SimpleQueue()
    future = _run_in_thread(turn, queue)
    partial_turn = PartialTurn()
    ends_at = monotonic() + RESPOND_AFTER_S
    while True:
        try:
            chunk = queue.get(timeout=max(0.0, ends_at - monotonic()))
        except Empty:
            future.add_done_callback(_log_failure)
            return partial_turn
        if chunk is None:
            partial_turn.result = future.result()
            return partial_turn
        partial_turn.chunks.append(chunk)


def with_early_filler(models: Models) -> Models:
    """Models that something is said for before the moment is over."""
    latency_policy = models.latency_policy
    filler_s = min(latency_policy.filler_s, _FILLER_AFTER_S)
    return replace(models, latency_policy=replace(latency_policy, filler_s=filler_s))


def is_turn_lost(polling_since: datetime | None, *, now: datetime) -> bool:
    """Whether a turn that has been waited for since then was lost: its process has died."""
    return polling_since is not None and now - polling_since > timedelta(seconds=_MAX_TURN_S)


def wait_for_reply(
    ref: CallRef, *, after: int
) -> tuple[tuple[SpokenChunk, ...], TurnResult] | None:
    """The answer of a turn that goes on somewhere, if it comes on record within a moment.

    Raises NotFound.
    """
    ends_at = monotonic() + RESPOND_AFTER_S
    pause_s = _MIN_POLL_PAUSE_S
    while monotonic() < ends_at:
        reply = turn_handler.find_reply(ref, after=after)
        if reply is not None:
            return reply
        sleep(pause_s)
        pause_s = min(2 * pause_s, _MAX_POLL_PAUSE_S)
    return None


def _run_in_thread(
    turn: Generator[SpokenChunk, None, TurnResult], queue: _ChunkQueue
) -> "Future[TurnResult]":
    """The turn in a thread of its own, which a process that ends waits for."""

    def consume_turn() -> TurnResult:
        try:
            while True:
                queue.put(next(turn))
        except StopIteration as end:
            result: TurnResult = end.value
            return result
        finally:
            queue.put(None)

    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="turn")
    future = executor.submit(copy_context().run, consume_turn)
    executor.shutdown(wait=False)
    return future


def _log_failure(future: "Future[TurnResult]") -> None:
    """Its asker has gone: nobody else would ever know."""
    if (error := future.exception()) is not None:
        log.get_logger().warning("call.turn_failed", exc_info=error)
