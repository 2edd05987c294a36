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
from vca.kit import log
from vca.telephony.types import ComeBack
from vca.tenant.calls import talking
from vca.tenant.calls.refs import CallRef, Clause, Outcome

COME_BACK = ComeBack()
# Carriers are answered within a second, so that each of them sees that we live.
SPEAK_AFTER_S = 0.9
# By then there should be something to say.
_FILLER_S = 0.7
# The longest that a turn takes: two models, each given up after four seconds, and the database.
_LONGEST_S = 12.0
# Each look is a transaction. What a caller has just been told takes longer to hear than any pause.
_LOOK_AGAIN_S, _LOOK_AT_LEAST_EVERY_S = 0.05, 0.4
_Heard = SimpleQueue[Clause | None]


@dataclass
class Begun:
    """What was said so far; `outcome` None: there is more to come."""

    clauses: list[Clause] = field(default_factory=list)
    outcome: Outcome | None = None


def begin(turn: Generator[Clause, None, Outcome]) -> Begun:
    """Run a turn for a moment; it goes on by itself after that. Raises what the turn raises."""
    heard: _Heard = SimpleQueue()
    running = _run(turn, heard)
    begun = Begun()
    ends_at = monotonic() + SPEAK_AFTER_S
    while True:
        try:
            clause = heard.get(timeout=max(0.0, ends_at - monotonic()))
        except Empty:
            running.add_done_callback(_tell_failure)
            return begun
        if clause is None:
            begun.outcome = running.result()
            return begun
        begun.clauses.append(clause)


def hurried(models: Models) -> Models:
    """Models that something is said for before the moment is over."""
    patience = models.patience
    filler_s = min(patience.filler_s, _FILLER_S)
    return replace(models, patience=replace(patience, filler_s=filler_s))


def is_over(since: datetime | None, *, now: datetime) -> bool:
    """Whether a turn that has been waited for since then was lost: its process has died."""
    return since is not None and now - since > timedelta(seconds=_LONGEST_S)


def answer(ref: CallRef, *, after: int) -> tuple[tuple[Clause, ...], Outcome] | None:
    """The answer of a turn that goes on somewhere, if it comes on record within a moment.

    Raises NotFound.
    """
    ends_at = monotonic() + SPEAK_AFTER_S
    pause_s = _LOOK_AGAIN_S
    while monotonic() < ends_at:
        found = talking.find_answer(ref, after=after)
        if found is not None:
            return found
        sleep(pause_s)
        pause_s = min(2 * pause_s, _LOOK_AT_LEAST_EVERY_S)
    return None


def _run(turn: Generator[Clause, None, Outcome], heard: _Heard) -> "Future[Outcome]":
    """The turn in a thread of its own, which a process that ends waits for."""

    def run() -> Outcome:
        try:
            while True:
                heard.put(next(turn))
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        finally:
            heard.put(None)

    with_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="turn")
    running = with_thread.submit(copy_context().run, run)
    with_thread.shutdown(wait=False)
    return running


def _tell_failure(running: "Future[Outcome]") -> None:
    """Its asker has gone: nobody else would ever know."""
    if (error := running.exception()) is not None:
        log.get().warning("call.turn_failed", exc_info=error)
