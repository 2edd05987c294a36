"""Usage facts of a call: seconds of its legs, tokens, seconds heard and characters spoken.

Carriers bill speech recognition for as long as they listen, whether or not anybody speaks: from the
agent's answer until the call ends or is transferred.

The key of a leg's fact contains its time interval. Events arrive late and in any order and may
change an interval. Then the old fact is reversed and the new one recorded, so the facts of a call
add up to the same for every order and repetition of its events. Simulated calls use nothing of
this; see `simulated_tokens`.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.conversation.types import Tokens
from vca.kit import clock
from vca.tenant.calls.core.call_types import StoredCall
from vca.tenant.calls.core.models import Event, OutboundLeg
from vca.tenant.calls.core.state_machine import LifecycleState
from vca.tenant.usage import ledger
from vca.tenant.usage.ledger import Fact, Leg

# End reasons after which the caller may have been forwarded. No event of ours reports that leg.
_FORWARDING = (
    "transferred",
    "concurrency_limit",
    "token_limit",
    "spend_cap",
    "model_error",
)
_IS_FORWARD = OutboundLeg.kind == "forward"
_SECOND = timedelta(seconds=1)


def meter_ended_call(session: Session, call: StoredCall, state: LifecycleState) -> None:
    """Record what a call used, in the transaction that ends it. The caller locks the call's row."""
    if call.simulated:
        return
    now = clock.now()
    ledger.record_facts(
        session,
        *_leg_facts(call, state, now),
        *_token_facts(call, Tokens(call.tokens - call.output_tokens, call.output_tokens), now),
        _build_fact(call, "speech_characters", call.spoken_chars, occurred_at=now),
    )


def meter_late_tokens(session: Session, call: StoredCall, tokens: Tokens) -> None:
    """Record tokens that were used after a real call had ended.

    They are the last ones in its total.
    """
    ledger.record_facts(session, *_token_facts(call, tokens, clock.now()))


def correct_after_event(
    session: Session, call: StoredCall, before: LifecycleState, state: LifecycleState
) -> None:
    """Correct the facts of an ended call after a late event, if it changes them.

    The caller locks the call's row.
    """
    if call.simulated:
        return
    now = clock.now()
    removed: list[Fact] = []
    added: list[Fact] = []
    if state != before:
        removed += _leg_facts(call, before, now)
        added += _leg_facts(call, state, now)
    if state.end_reason in _FORWARDING:
        forwards = _forward_facts(session, call, now)
        removed += forwards[:-1]
        added += forwards[-1:]
    _apply_correction(session, removed, added)


def meter_late_transfer(session: Session, call: StoredCall) -> None:
    """Record the leg of a transfer that was reported after the call had ended."""
    if call.simulated:
        return
    now = clock.now()
    removed = _speech_facts(call, call.state, None, now)
    _apply_correction(session, list(removed), list(_leg_facts(call, call.state, now)))


def _apply_correction(session: Session, removed: Sequence[Fact], added: Sequence[Fact]) -> None:
    added_ids = {fact.id for fact in added}
    ledger.correct_facts(
        session,
        superseded=[fact for fact in removed if fact.id not in added_ids],
        replacements=added,
    )


def _leg_facts(call: StoredCall, state: LifecycleState, now: datetime) -> Iterator[Fact]:
    """Return the facts of the call's own leg and of an answered transfer.

    Both last until its end.
    """
    if state.ended_at is None or call.simulated:
        return
    if state.answered_at is not None:
        own_leg: Leg = "agent" if call.direction == "inbound" else "call"
        yield _leg_fact(call, own_leg, state.answered_at, state.ended_at, now)
    transferred_at = _transferred_at(call)
    yield from _speech_facts(call, state, transferred_at, now)
    if transferred_at is not None:
        yield _leg_fact(call, "transfer", transferred_at, state.ended_at, now)


def _transferred_at(call: StoredCall) -> datetime | None:
    """Return when the caller left the agent for a transfer target that answered."""
    transfer = call.transfer
    return transfer.started_at if transfer is not None and transfer.status == "completed" else None


def _speech_facts(
    call: StoredCall, state: LifecycleState, transferred_at: datetime | None, now: datetime
) -> Iterator[Fact]:
    """Return how long the carrier listened for an agent."""
    started_at, ended_at = state.answered_at, transferred_at or state.ended_at
    if started_at is not None and ended_at is not None and call.route["decision"] == "agent":
        yield _build_fact(
            call,
            "speech_seconds",
            *_billable_seconds(started_at, ended_at, now),
            occurred_at=min(ended_at, now),
        )


def _forward_facts(session: Session, call: StoredCall, now: datetime) -> list[Fact]:
    """Return one fact of the forward per reported end, the longest last; empty without a forward.

    The first end is our own: we leave the call and the caller stays with the other party.
    """
    conditions = OutboundLeg.call_id == call.id, OutboundLeg.created_at >= call.created_at
    started_at = session.scalar(
        select(func.max(OutboundLeg.created_at)).where(*conditions, _IS_FORWARD)
    )
    if started_at is None:
        return []
    end_events = Event.call_id == call.id, Event.event_type.in_(("ENDED", "FAILED"))
    end_times = session.scalars(
        select(Event.timestamp).where(*end_events).order_by(Event.timestamp)
    ).all()
    return [
        _leg_fact(call, "forward", started_at, ended_at, now)
        for ended_at in end_times
        if ended_at - started_at >= _SECOND
    ]


def _leg_fact(
    call: StoredCall, leg: Leg, started_at: datetime, ended_at: datetime, now: datetime
) -> Fact:
    seconds, interval = _billable_seconds(started_at, ended_at, now)
    return _build_fact(
        call, "call_seconds", seconds, interval, occurred_at=min(ended_at, now), leg=leg
    )


def _billable_seconds(started_at: datetime, ended_at: datetime, now: datetime) -> tuple[int, str]:
    """Return whole seconds, rounded up, and the interval they were measured over.

    An end in the future counts as now: a carrier's clock may be ahead, and nobody pays for that.
    """
    seconds = max(0, -((started_at - min(ended_at, now)) // _SECOND))
    return seconds, f"{_utc_isoformat(started_at)}/{_utc_isoformat(ended_at)}"


def _token_facts(call: StoredCall, tokens: Tokens, now: datetime) -> Iterator[Fact]:
    """Return the token facts.

    Their keys contain which of the call's tokens they count, in order.
    """
    for kind, count, total in (
        ("model_input_tokens", tokens.input, call.tokens - call.output_tokens),
        ("model_output_tokens", tokens.output, call.output_tokens),
    ):
        yield _build_fact(call, kind, count, f"{total - count}-{total}", occurred_at=now)


def _build_fact(
    call: StoredCall,
    kind: str,
    quantity: int,
    part: str = "all",
    *,
    occurred_at: datetime,
    leg: Leg | None = None,
) -> Fact:
    key = f"call:{call.id}:{leg or kind}:{part}"
    return Fact(key, kind, quantity, occurred_at, leg, call.id, call.phone_number_id)


def _utc_isoformat(moment: datetime) -> str:
    """Return the same text for the same moment in any time zone."""
    return moment.astimezone(UTC).isoformat()
