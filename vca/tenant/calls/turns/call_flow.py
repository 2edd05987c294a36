"""What happens in a call besides turns: interruptions, transfers, reconnections and events.

A call begins in `call_start`, and `turn_handler` answers what the caller says or presses. Each
function of the three modules opens short transactions of its own. None is open during a request to
a model or a carrier. No process keeps a call's state: any other process can continue from the
stored turns.
"""

from dataclasses import dataclass

from vca.conversation.redaction import Redaction
from vca.kit import clock, failpoints
from vca.observability import log
from vca.services import Services
from vca.telephony.types import CallEvent, HangUp, LegOutcome
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record, state_machine, turn_records
from vca.tenant.calls.core.call_types import (
    CallRef,
    TurnResult,
    Utterance,
)
from vca.tenant.calls.turns import stored_replies, transfers


@dataclass(frozen=True)
class UnansweredUtterance:
    """The caller's last utterance, which has no reply.

    `redaction` is how the utterance was redacted before it was stored.
    """

    utterance: Utterance
    redaction: Redaction

    def is_repeated_by(self, text: str) -> bool:
        """Return whether the carrier has sent the same utterance again."""
        return self.redaction.redact_text(text) == self.utterance.text


def record_interruption(ref: CallRef, *, services: Services, heard_text: str) -> None:
    """Store what was heard of the agent's last turn before the caller interrupted it.

    The turn keeps both texts. From then on the model sees only what was heard. Raises NotFound.
    """
    with tenant_session(ref.tenant, database=services.database) as session:
        record.lock_call_context(session, ref.call_id)
        turn_records.set_heard_text(session, ref.call_id, heard_text=heard_text)


def resume_call(
    ref: CallRef, *, services: Services, repeat_last: bool
) -> TurnResult | UnansweredUtterance:
    """Return what follows when a voice WebSocket has closed, or the utterance without a reply.

    A WebSocket closes with its process, with a deployment, or because the call does something that
    needs none. Any process can then continue from the stored turns.

    `repeat_last`: say the agent's last turn again, because it may not have been heard. A turn of
    which nothing was heard is always said again. Read-only and repeatable. Raises NotFound.
    """
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        if call_context.has_ended:
            return stored_replies.ended_call_result(session, ref)
        turns = turn_records.list_turns(session, ref.call_id)
        transfer = transfers.pending_transfer(call_context)
    if transfer is not None:
        return TurnResult(ref, (transfer,), len(turns))
    profile = call_context.profile
    if profile is None or not turns:
        return TurnResult(ref, (HangUp(),))
    last_turn = turns[-1]
    if last_turn.speaker == "caller":
        return UnansweredUtterance(
            Utterance(last_turn.text, after=len(turns) - 1),
            profile.redaction,
        )
    # An empty Say tells another WebSocket which language and voice to use.
    say = profile.say(last_turn.text if repeat_last or last_turn.heard_text == "" else "")
    return TurnResult(ref, (say, profile.listen()), len(turns))


def finish_transfer(
    ref: CallRef, *, services: Services, leg_outcome: LegOutcome, after: int | None = None
) -> TurnResult:
    """Continue after a transfer: end the call if it was answered, else return to the agent.

    `after` is as in `Utterance`: a repeated request gets the same reply. Raises NotFound.
    """
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        if call_context.has_ended:
            transfers.apply_late_leg_outcome(session, ref, call_context, leg_outcome=leg_outcome)
            return stored_replies.ended_call_result(session, ref)
        result = transfers.apply_leg_outcome(
            session,
            ref,
            call_context,
            leg_outcome=leg_outcome,
            after=after,
            now=clock.now(),
            services=services,
        )
    failpoints.kill_if_armed("calls.transfer.returned")
    return result


def apply_call_event(
    ref: CallRef, *, services: Services, event: CallEvent
) -> state_machine.LifecycleState:
    """Store an event of a call and apply what follows from it. Raises NotFound."""
    with tenant_session(ref.tenant, database=services.database) as session:
        state = record.apply_event(session, ref.call_id, event, services=services)
        failpoints.kill_if_armed("calls.finish.noted")
    failpoints.kill_if_armed("calls.finish.committed")
    if state.status in state_machine.TERMINAL:
        log.get_logger().info("call.ended", call_id=str(ref.call_id), end_reason=state.end_reason)
    return state
