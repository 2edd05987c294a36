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
from vca.kit import clock, failpoints
from vca.observability import log
from vca.telephony.types import CallEvent, LegOutcome
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record, state_machine
from vca.tenant.calls.core.call_types import CallRef, SpokenChunk, TurnResult
from vca.tenant.calls.turns import call_start, resumption, transfers, turn_handler
from vca.tenant.calls.turns.first_actions import InboundCall
from vca.tenant.calls.turns.resumption import UnansweredUtterance

TurnStream = Generator[SpokenChunk, None, TurnResult]


def start_inbound_call(call: InboundCall, *, model_available: bool = True) -> TurnResult:
    """Route and record a call that rings, and say what the caller hears first.

    Idempotent on the carrier's call id: the same ring again is the same call and the same words. A
    call that no agent answers is recorded too, with the reason. `answerable`: there is a model that
    may speak to this caller.
    """
    try:
        result = call_start.start_inbound(call, model_available=model_available)
    except call_start.CallAlreadyRecorded:
        result = call_start.start_inbound(call, model_available=model_available)
    log.get_logger().info("call.begun", call_id=str(result.ref.call_id) if result.ref else None)
    return result


def start_outbound_call(ref: CallRef, *, provider_call_id: str) -> TurnResult:
    """Greet whom we have called and who has answered. Repeatable. Raises NotFound."""
    return call_start.start_outbound(ref, provider_call_id=provider_call_id)


def handle_utterance(
    ref: CallRef, *, utterance: str, models: Models, after: int | None = None
) -> TurnStream:
    """Answer what the caller said, a clause as soon as it is there; returns what follows the words.

    `after` is how many turns were on record when the caller was listened to: the same words again,
    which a carrier sends when our answer was lost, get the same answer, and a turn that another
    process has begun and not finished is gone on with. A caller that stops early closes the
    generator; what was said by then is kept. A model that fails ends the call politely. Raises
    NotFound.
    """
    return turn_handler.handle_turn(ref, utterance=utterance, models=models, after=after)


def handle_keys(ref: CallRef, *, keys: str, models: Models, after: int | None = None) -> TurnStream:
    """Answer keys that the caller pressed, as a turn in which they are named."""
    return turn_handler.handle_turn(
        ref, utterance=transcript.dtmf_text(keys), models=models, after=after
    )


def record_interruption(ref: CallRef, *, heard_text: str) -> None:
    """Note what was heard of the agent's last turn, which was cut off after it. Raises NotFound.

    The turn keeps both; from now on the model knows only what was heard.
    """
    with tenant_session(ref.tenant) as session:
        record.lock_call_context(session, ref.call_id)
        record.set_heard_text(session, ref.call_id, heard_text=heard_text)


def resume_call(ref: CallRef, *, repeat_last: bool) -> TurnResult | UnansweredUtterance:
    """What follows once a call's socket has ended, or what its caller said that is unanswered yet.

    `again`: the agent's last words may not have been heard, and are said once more. Repeatable;
    writes nothing. Raises NotFound.
    """
    return resumption.find_next_action(ref, repeat_last=repeat_last)


def finish_transfer(
    ref: CallRef, *, leg_outcome: LegOutcome, after: int | None = None
) -> TurnResult:
    """Go on after a transfer: over if it succeeded, else back with the agent. Raises NotFound.

    `after` as for `turn`: told twice, the same is said twice.
    """
    with tenant_session(ref.tenant) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        if call_context.status in state_machine.TERMINAL:
            transfers.apply_late_leg_outcome(session, ref, call_context, leg_outcome=leg_outcome)
            return turn_handler.ended_call_result(session, ref)
        result = transfers.apply_leg_outcome(
            session, ref, call_context, leg_outcome=leg_outcome, after=after, now=clock.now()
        )
    failpoints.kill_if_armed("calls.transfer.returned")
    return result


def apply_call_event(ref: CallRef, *, event: CallEvent) -> state_machine.LifecycleState:
    """Record an event of a call that has begun, and what follows from it. Raises NotFound."""
    with tenant_session(ref.tenant) as session:
        state = record.apply_event(session, ref.call_id, event)
        failpoints.kill_if_armed("calls.finish.noted")
    failpoints.kill_if_armed("calls.finish.committed")
    if state.status in state_machine.TERMINAL:
        log.get_logger().info("call.ended", call_id=str(ref.call_id), end_reason=state.end_reason)
    return state
