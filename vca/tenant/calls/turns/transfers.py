"""Transfer callers to a named target, and back to the agent if nobody answers there."""

from datetime import datetime

from sqlalchemy.orm import Session

from vca.conversation import localised_phrases
from vca.kit import failpoints
from vca.kit.errors import Conflict
from vca.services import Services
from vca.telephony.types import CallEvent, HangUp, LegOutcome
from vca.tenant.calls.core import call_events, metering, outbound_legs, record, turn_records
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.calls.core.call_transfer import CallTransfer, OnFailure
from vca.tenant.calls.core.call_types import (
    CallRef,
    FlowAction,
    ForwardOrder,
    TransferOrder,
    TurnResult,
)
from vca.tenant.settings.dialling import DiallingRefused

TIMEOUT_S = 25


class UnknownTarget(Conflict):
    """The call's profile has no transfer target with that name."""

    code = "unknown-target"

    def __init__(self) -> None:
        super().__init__("The call's AI profile has no transfer target with that name.")


def start_transfer(
    session: Session,
    ref: CallRef,
    call_context: CallContext,
    *,
    services: Services,
    target: str,
    now: datetime,
    timeout_s: int = TIMEOUT_S,
    on_failure: OnFailure = "return",
) -> TransferOrder:
    """Start the transfer to a named target. The caller locks the call's row.

    Raises UnknownTarget, and DiallingRefused by the tenant's policy. A simulated call changes its
    status too, but records no leg.
    """
    number = call_context.agent.target_numbers.get(target)
    if number is None:
        raise UnknownTarget
    outbound_legs.authorise_leg(
        session,
        number,
        kind="transfer",
        call_id=ref.call_id,
        from_number=call_context.tenant_number,
        simulated=call_context.simulated,
        services=services,
    )
    transfer = CallTransfer(target, number, timeout_s, on_failure, "dialling", now)
    record.update_call(session, ref.call_id, status="transferring", transfer=transfer.as_dict())
    failpoints.kill_if_armed("calls.transfer.started")
    return TransferOrder(number, timeout_s)


def pending_transfer(call_context: CallContext) -> TransferOrder | None:
    """Return the transfer that is in progress, or None."""
    transfer = call_context.transfer
    if call_context.status != "transferring" or transfer is None:
        return None
    return TransferOrder(transfer.number, transfer.timeout_s)


def apply_leg_outcome(
    session: Session,
    ref: CallRef,
    call_context: CallContext,
    *,
    services: Services,
    leg_outcome: LegOutcome,
    after: int | None,
    now: datetime,
) -> TurnResult:
    """Apply the outcome of a transfer's leg. The caller locks the call's row.

    Idempotent: if the transfer is already settled, repeat what the agent said after turn `after`.
    """
    if pending_transfer(call_context) is None:
        return _resume_agent(session, ref, call_context, after)
    if leg_outcome == "answered":
        _set_transfer_status(session, ref, call_context, "completed")
        event = CallEvent("ENDED", ref.call_id.hex, now, "transfer", end_reason="transferred")
        record.apply_event(session, ref.call_id, event, services=services)
        return TurnResult(ref, (HangUp(),))
    return _return_caller(
        session, ref, call_context, status=leg_outcome, now=now, services=services
    )


def _resume_agent(
    session: Session, ref: CallRef, call_context: CallContext, after: int | None
) -> TurnResult:
    profile = call_context.agent
    turns = turn_records.list_turns(session, ref.call_id)
    later_turns = turns[after:] if after is not None else ()
    repeated = [profile.say(turn.text) for turn in later_turns[:1]]
    agent_says = repeated if later_turns and later_turns[0].speaker == "agent" else []
    return TurnResult(ref, (*agent_says, profile.listen()), len(turns))


def _return_caller(
    session: Session,
    ref: CallRef,
    call_context: CallContext,
    *,
    services: Services,
    status: str,
    now: datetime,
) -> TurnResult:
    """Return the caller to the agent, to leaving a message, or to the number's fallback."""
    on_failure = _set_transfer_status(session, ref, call_context, status).on_failure
    if on_failure == "fallback":
        actions = _forward_to_fallback(session, ref, call_context, now=now, services=services)
        if actions:
            return TurnResult(ref, actions)
    sentence: localised_phrases.PhraseKey = (
        "leave_message" if on_failure == "message" else "not_connected"
    )
    return _say_sentence(session, ref, call_context, sentence, now=now)


def apply_late_leg_outcome(
    session: Session, ref: CallRef, call_context: CallContext, *, leg_outcome: LegOutcome
) -> None:
    """Apply the outcome of a leg that is reported after the call ended. The caller locks the row.

    A leg that was answered lasted until the end of the call.
    """
    transfer = call_context.transfer
    if leg_outcome == "answered" and transfer is not None and transfer.status == "dialling":
        completed = transfer.with_status("completed")
        record.update_call(session, ref.call_id, transfer=completed.as_dict())
        metering.meter_late_transfer(session, record.lock_stored_call(session, ref.call_id))
        call_events.emit_transfer_result(
            session, ref, call_context, target=transfer.target, result="completed"
        )


def revert_transfer(
    session: Session, ref: CallRef, call_context: CallContext, *, status: str
) -> None:
    """Revert a transfer that was not made: the caller is still with the agent.

    `status` says why. The leg still counts towards the dialling limits. The caller of this function
    locks the call's row.
    """
    if pending_transfer(call_context) is not None:
        _set_transfer_status(session, ref, call_context, status)


def _set_transfer_status(
    session: Session, ref: CallRef, call_context: CallContext, status: str
) -> CallTransfer:
    """Store the result of the latest transfer and return the transfer."""
    assert call_context.transfer is not None
    transfer = call_context.transfer.with_status(status)
    record.update_call(session, ref.call_id, status="in_progress", transfer=transfer.as_dict())
    call_events.emit_transfer_result(
        session, ref, call_context, target=transfer.target, result=status
    )
    return transfer


def _forward_to_fallback(
    session: Session, ref: CallRef, call_context: CallContext, *, services: Services, now: datetime
) -> tuple[FlowAction, ...]:
    number = call_context.fallback_number
    if number is None:
        return ()
    try:
        outbound_legs.authorise_leg(
            session,
            number,
            kind="forward",
            call_id=ref.call_id,
            from_number=call_context.tenant_number,
            simulated=call_context.simulated,
            services=services,
        )
    except DiallingRefused:
        return ()
    event = CallEvent("ENDED", ref.call_id.hex, now, "fallback", end_reason="transferred")
    record.apply_event(session, ref.call_id, event, services=services)
    return (ForwardOrder(number),)


def _say_sentence(
    session: Session,
    ref: CallRef,
    call_context: CallContext,
    sentence: localised_phrases.PhraseKey,
    *,
    now: datetime,
) -> TurnResult:
    profile = call_context.agent
    text = call_context.texts.phrase(sentence, profile.language)
    sequence = len(turn_records.list_turns(session, ref.call_id)) + 1
    turn_records.insert_turn(
        session, ref.call_id, sequence=sequence, speaker="agent", text=text, started_at=now
    )
    return TurnResult(ref, (profile.say(text), profile.listen()), sequence)
