"""A turn over HTTP: a carrier waits for one answer, and a caller should not hear silence.

The turn runs in a thread of its own. What it has said after a moment is the answer, with the word
to come back for the rest; by then the rest is on record, whichever process has spoken it.
"""

from collections.abc import Generator
from contextvars import copy_context
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
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
_LOOK_EVERY_S = 0.05


@dataclass
class Begun:
    """What was said so far; `outcome` None: there is more to come."""

    clauses: list[Clause] = field(default_factory=list)
    outcome: Outcome | None = None


def begin(turn: Generator[Clause, None, Outcome], *, speak_after_s: float | None = None) -> Begun:
    """Run a turn, for as long as the caller can bear silence; it goes on by itself after that.

    Before anything was said it is waited for. Raises what the turn raises.
    """
    heard: SimpleQueue[Clause | Outcome | BaseException] = SimpleQueue()
    context = copy_context()
    Thread(target=context.run, args=(_run, turn, heard), daemon=True).start()
    ends_at = monotonic() + (SPEAK_AFTER_S if speak_after_s is None else speak_after_s)
    begun = Begun()
    while begun.outcome is None:
        try:
            left_s = max(0.0, ends_at - monotonic()) if begun.clauses else _LONGEST_S
            piece = heard.get(timeout=left_s)
        except Empty:
            break
        if isinstance(piece, BaseException):
            raise piece
        if isinstance(piece, Outcome):
            begun.outcome = piece
        else:
            begun.clauses.append(piece)
    return begun


def answer(ref: CallRef, *, after: int) -> tuple[Clause, Outcome] | None:
    """The answer of a turn that goes on somewhere, once it is on record; None: it was lost.

    Raises NotFound.
    """
    ends_at = monotonic() + _LONGEST_S
    while monotonic() < ends_at:
        found = talking.find_answer(ref, after=after)
        if found is not None:
            return found
        sleep(_LOOK_EVERY_S)
    return None


def _run(
    turn: Generator[Clause, None, Outcome],
    heard: "SimpleQueue[Clause | Outcome | BaseException]",
) -> None:
    try:
        while True:
            heard.put(next(turn))
    except StopIteration as end:
        heard.put(end.value)
    except Exception as error:
        # Its asker may have gone: then nobody else would ever know.
        log.get().warning("call.turn_failed", exc_info=error)
        heard.put(error)
