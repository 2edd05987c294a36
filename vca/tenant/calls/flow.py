"""A call from ring to end, whatever carries it: all that a carrier's transport calls.

`begin` when it rings or is answered, `turn` for what the caller says, `dtmf` for keys,
`interrupted` when the agent was cut off, `resumed` when a socket has ended, `returned` when a
transfer has, `finish` for what its carrier tells. Each opens short transactions of its own, and
none is open while a model or a carrier is asked. Nothing of a call is kept in a process: any other
one can go on from the stored turns.
"""

from collections.abc import Generator

from vca.conversation import transcript
from vca.conversation.llm.models import Models
from vca.kit import clock, crash, log
from vca.telephony.types import CallEvent, LegOutcome
from vca.tenancy.session import enter
from vca.tenant.calls import opening, record, resuming, states, talking, transfers
from vca.tenant.calls.opening import Ringing
from vca.tenant.calls.refs import CallRef, Clause, Outcome
from vca.tenant.calls.resuming import Unanswered

Spoken = Generator[Clause, None, Outcome]


def begin(ringing: Ringing, *, answerable: bool = True) -> Outcome:
    """Route and record a call that rings, and say what the caller hears first.

    Idempotent on the carrier's call id: the same ring again is the same call and the same words. A
    call that no agent answers is recorded too, with the reason. `answerable`: there is a model that
    may speak to this caller.
    """
    try:
        outcome = opening.ring(ringing, answerable=answerable)
    except opening.RungMeanwhile:
        outcome = opening.ring(ringing, answerable=answerable)
    log.get().info("call.begun", call_id=str(outcome.ref.call_id) if outcome.ref else None)
    return outcome


def begin_outbound(ref: CallRef, *, provider_call_id: str) -> Outcome:
    """Greet whom we have called and who has answered. Repeatable. Raises NotFound."""
    return opening.answered(ref, provider_call_id=provider_call_id)


def turn(ref: CallRef, *, heard: str, models: Models, after: int | None = None) -> Spoken:
    """Answer what the caller said, a clause as soon as it is there; returns what follows the words.

    `after` is how many turns were on record when the caller was listened to: the same words again,
    which a carrier sends when our answer was lost, get the same answer, and a turn that another
    process has begun and not finished is gone on with. A caller that stops early closes the
    generator; what was said by then is kept. A model that fails ends the call politely. Raises
    NotFound.
    """
    return talking.turn(ref, heard=heard, models=models, after=after)


def dtmf(ref: CallRef, *, keys: str, models: Models, after: int | None = None) -> Spoken:
    """Answer keys that the caller pressed, as a turn in which they are named."""
    return talking.turn(ref, heard=transcript.pressed(keys), models=models, after=after)


def interrupted(ref: CallRef, *, heard: str) -> None:
    """Note what was heard of the agent's last turn, which was cut off after it. Raises NotFound.

    The turn keeps both; from now on the model knows only what was heard.
    """
    with enter(ref.tenant) as session:
        record.talk(session, ref.call_id)
        record.note_heard(session, ref.call_id, heard=heard)


def resumed(ref: CallRef, *, again: bool) -> Outcome | Unanswered:
    """What follows once a call's socket has ended, or what its caller said that is unanswered yet.

    `again`: the agent's last words may not have been heard, and are said once more. Repeatable;
    writes nothing. Raises NotFound.
    """
    return resuming.resume(ref, again=again)


def returned(ref: CallRef, *, leg: LegOutcome, after: int | None = None) -> Outcome:
    """Go on after a transfer: over if it succeeded, else back with the agent. Raises NotFound.

    `after` as for `turn`: told twice, the same is said twice.
    """
    with enter(ref.tenant) as session:
        talk = record.talk(session, ref.call_id)
        if talk.status in states.TERMINAL:
            transfers.told_late(session, ref, talk, leg=leg)
            return talking.over(session, ref)
        outcome = transfers.returned(session, ref, talk, leg=leg, after=after, now=clock.now())
    crash.point("calls.transfer.returned")
    return outcome


def finish(ref: CallRef, *, event: CallEvent) -> states.State:
    """Record an event of a call that has begun, and what follows from it. Raises NotFound."""
    with enter(ref.tenant) as session:
        state = record.happened(session, ref.call_id, event)
        crash.point("calls.finish.noted")
    crash.point("calls.finish.committed")
    if state.status in states.TERMINAL:
        log.get().info("call.ended", call_id=str(ref.call_id), end_reason=state.end_reason)
    return state
