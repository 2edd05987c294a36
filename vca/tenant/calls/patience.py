"""A turn over HTTP: a carrier waits for one answer, and a caller should not hear silence.

The turn runs in a thread of its own. What it has said after a moment is the answer, with the word
to come back for the rest; by then the rest is on record, whichever process has spoken it.
"""

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic, sleep

from vca.kit import log
from vca.telephony.types import ComeBack
from vca.tenant.calls import talking
from vca.tenant.calls.refs import CallRef, Clause, Outcome

COME_BACK = ComeBack()
# A filler is said after 1.5 s; nobody waits much longer for a carrier to play it.
SPEAK_AFTER_S = 2.0
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
    """Run a turn, for as long as the caller can bear silence; it goes on by itself after that.

    Before anything was said it is waited for. Raises what the turn raises.
    """
    heard: _Heard = SimpleQueue()
    running = _run(turn, heard)
    begun = Begun()
    ends_at = monotonic() + SPEAK_AFTER_S
    while True:
        try:
            left_s = max(0.0, ends_at - monotonic()) if begun.clauses else _LONGEST_S
            clause = heard.get(timeout=left_s)
        except Empty:
            running.add_done_callback(_tell_failure)
            return begun
        if clause is None:
            begun.outcome = running.result()
            return begun
        begun.clauses.append(clause)


def answer(ref: CallRef, *, after: int) -> tuple[tuple[Clause, ...], Outcome] | None:
    """The answer of a turn that goes on somewhere, once it is on record; None: it was lost.

    Raises NotFound.
    """
    ends_at = monotonic() + _LONGEST_S
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
