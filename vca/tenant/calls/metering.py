"""What a call uses, for the ledger: the seconds of its legs, its models' tokens, what was spoken.

Carriers bill for recognising speech as long as they listen, whether or not anybody speaks: from an
agent's answer until the call ends or somebody else has it.

A leg's fact is named by the time that it lasted. Events come late and in any order, and may move a
time that was noted: then the fact is taken back, and the one that holds is noted instead. So
however often and in whatever order a call's events come, its facts add up to the same. Simulated
calls use nothing.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from vca.conversation.types import Tokens
from vca.kit import clock
from vca.tenant.calls.models import Call, Event, OutboundLeg, Turn
from vca.tenant.calls.states import State
from vca.tenant.usage import ledger
from vca.tenant.usage.ledger import Fact, Leg

# Ends after which the caller may be on the way to somebody else, who is heard by no event of ours.
_FORWARDING = (
    "transferred",
    "concurrency_limit",
    "token_limit",
    "spend_cap",
    "model_error",
)
_IS_FORWARD = OutboundLeg.kind == "forward"
_SECOND = timedelta(seconds=1)


def ended(session: Session, call: Call, state: State, said: Sequence[Turn]) -> None:
    """Note what a call has used, in the transaction that ends it; the caller holds its row."""
    if call.simulated:
        return
    now = clock.now()
    spoken = sum(len(turn.text) for turn in said if turn.speaker == "agent")
    ledger.note(
        session,
        *_of_legs(call, state, now),
        *_of_tokens(call, Tokens(call.tokens - call.output_tokens, call.output_tokens), now),
        _fact(call, "speech_characters", spoken, at=now),
    )


def spent_later(session: Session, call: Row[Any], tokens: Tokens) -> None:
    """Note tokens of a call that had ended: the last of those that its row counts."""
    if not call.simulated:
        ledger.note(session, *_of_tokens(call, tokens, clock.now()))


def told_later(session: Session, call: Call, before: State, state: State) -> None:
    """Something was told of a call that had ended: set right what that changes, if it does.

    The caller holds its row.
    """
    if call.simulated:
        return
    now = clock.now()
    gone: list[Fact] = []
    new: list[Fact] = []
    if state != before:
        gone += _of_legs(call, before, now)
        new += _of_legs(call, state, now)
    if state.end_reason in _FORWARDING:
        forwards = _of_forward(session, call, now)
        gone += forwards[:-1]
        new += forwards[-1:]
    _correct(session, gone, new)


def transferred(session: Session, call_id: UUID) -> None:
    """Note the leg of a transfer of which was told once the call had ended."""
    call, now = session.get_one(Call, call_id, populate_existing=True), clock.now()
    if call.simulated:
        return
    gone = _listened(call, call.state, None, now)
    _correct(session, list(gone), list(_of_legs(call, call.state, now)))


def _correct(session: Session, gone: Sequence[Fact], new: Sequence[Fact]) -> None:
    holding = {fact.id for fact in new}
    ledger.correct(session, gone=[fact for fact in gone if fact.id not in holding], new=new)


def _of_legs(call: Call, state: State, now: datetime) -> Iterator[Fact]:
    """The call's own leg, and that of a transfer which was answered: both last until its end."""
    if state.ended_at is None or call.simulated:
        return
    if state.answered_at is not None:
        own: Leg = "agent" if call.direction == "inbound" else "call"
        yield _leg(call, own, state.answered_at, state.ended_at, now)
    left_at = _left_at(call)
    yield from _listened(call, state, left_at, now)
    if left_at is not None:
        yield _leg(call, "transfer", left_at, state.ended_at, now)


def _left_at(call: Call) -> datetime | None:
    """When the caller left the agent for somebody who answered."""
    order = call.transfer
    if order is None or order["status"] != "completed":
        return None
    return datetime.fromisoformat(order["started_at"])


def _listened(call: Call, state: State, left_at: datetime | None, now: datetime) -> Iterator[Fact]:
    """How long an agent's call was listened to."""
    began, until = state.answered_at, left_at or state.ended_at
    if began is not None and until is not None and call.route["decision"] == "agent":
        yield _fact(call, "speech_seconds", *_lasted(began, until, now), at=min(until, now))


def _of_forward(session: Session, call: Call, now: datetime) -> list[Fact]:
    """The forward as each end that was told has it, the longest last; nothing if there was none.

    The first end is our own: we have gone, and the caller stays with the other side.
    """
    of_call = OutboundLeg.call_id == call.id, OutboundLeg.created_at >= call.created_at
    began = session.scalar(select(func.max(OutboundLeg.created_at)).where(*of_call, _IS_FORWARD))
    if began is None:
        return []
    told = Event.call_id == call.id, Event.event_type.in_(("ENDED", "FAILED"))
    ends = session.scalars(select(Event.timestamp).where(*told).order_by(Event.timestamp)).all()
    return [_leg(call, "forward", began, end, now) for end in ends if end - began >= _SECOND]


def _leg(call: Call, leg: Leg, began: datetime, ended_at: datetime, now: datetime) -> Fact:
    seconds, lasted = _lasted(began, ended_at, now)
    return _fact(call, "call_seconds", seconds, lasted, at=min(ended_at, now), leg=leg)


def _lasted(began: datetime, ended_at: datetime, now: datetime) -> tuple[int, str]:
    """Whole seconds, rounded up, and the time that lasted so long.

    A carrier's clock may be years ahead; nobody pays for that.
    """
    seconds = max(0, -((began - min(ended_at, now)) // _SECOND))
    return seconds, f"{_written(began)}/{_written(ended_at)}"


def _of_tokens(call: Call | Row[Any], spent: Tokens, now: datetime) -> Iterator[Fact]:
    """Named by which of the call's tokens they are, in the order in which they were spent."""
    for kind, count, by_then in (
        ("model_input_tokens", spent.input, call.tokens - call.output_tokens),
        ("model_output_tokens", spent.output, call.output_tokens),
    ):
        yield _fact(call, kind, count, f"{by_then - count}-{by_then}", at=now)


def _fact(
    call: Call | Row[Any],
    kind: str,
    quantity: int,
    which: str = "all",
    *,
    at: datetime,
    leg: Leg | None = None,
) -> Fact:
    key = f"call:{call.id}:{leg or kind}:{which}"
    return Fact(key, kind, quantity, at, leg, call.id, call.phone_number_id)


def _written(moment: datetime) -> str:
    """The same text for the same moment, whatever zone it was told in."""
    return moment.astimezone(UTC).isoformat()
