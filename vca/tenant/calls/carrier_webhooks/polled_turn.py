"""Run a turn over HTTP without silence: reply with the first text, and let the carrier poll.

The turn runs in a thread of its own. The reply is the text that is ready after 0.9 s plus a poll
action. Later polls return the rest from the database once it is stored, from any process.
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
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core.call_types import CallRef, SpokenChunk, TurnResult
from vca.tenant.calls.turns import turn_handler

POLL = Poll()
# Carriers get a reply within one second, so that none of them times out.
RESPOND_AFTER_S = 0.9
# The filler must be ready before RESPOND_AFTER_S.
_FILLER_AFTER_S = 0.7
# What a turn takes in addition to the models: the database.
_DATABASE_S = 2.0
# Each query is a transaction, so the pause doubles up to the maximum. The caller does not notice:
# the text that is being spoken takes longer than any pause.
_MIN_POLL_PAUSE_S, _MAX_POLL_PAUSE_S = 0.05, 0.4
_ChunkQueue = SimpleQueue[SpokenChunk | None]


@dataclass
class PartialTurn:
    """The text so far. `result` is None while there is more to come."""

    chunks: list[SpokenChunk] = field(default_factory=list)
    result: TurnResult | None = None


def start_turn(turn: Generator[SpokenChunk, None, TurnResult]) -> PartialTurn:
    """Run a turn for at most RESPOND_AFTER_S; it continues in its thread.

    Raises what the turn raises.
    """
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
    """Return models whose filler is spoken before RESPOND_AFTER_S."""
    latency_policy = models.latency_policy
    filler_s = min(latency_policy.filler_s, _FILLER_AFTER_S)
    return replace(models, latency_policy=replace(latency_policy, filler_s=filler_s))


def is_turn_lost(polling_since: datetime | None, *, now: datetime) -> bool:
    """Return whether the carrier has polled for longer than a turn takes: its process has died."""
    latency_policy = call_services.current_services().models.latency_policy
    max_turn = timedelta(seconds=latency_policy.whole_s + _DATABASE_S)
    return polling_since is not None and now - polling_since > max_turn


def wait_for_reply(
    ref: CallRef, *, after: int
) -> tuple[tuple[SpokenChunk, ...], TurnResult] | None:
    """Return the reply of a turn in any process if it is stored within RESPOND_AFTER_S, else None.

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
    """Run the turn in a thread of its own. A process that shuts down waits for it."""

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
    """Log the turn's error, because nobody waits for its result any more."""
    if (error := future.exception()) is not None:
        log.get_logger().warning("call.turn_failed", exc_info=error)
