"""Replies that are stored already: to utterances that a carrier repeats, and for its polls."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from vca.services import Services
from vca.telephony.types import HangUp
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import (
    outbound_legs,
    record,
)
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.calls.core.call_types import (
    CallRef,
    ForwardOrder,
    SpokenChunk,
    TurnResult,
)
from vca.tenant.calls.core.models import TurnRecord
from vca.tenant.calls.turns import transfers


@dataclass(frozen=True)
class AnsweredTurn:
    """A reply that was stored earlier. The carrier lost it, or polls for the rest of it.

    The reply to an utterance after the end of a call has no text.
    """

    chunks: tuple[SpokenChunk, ...]
    result: TurnResult


def turns_since(
    turns: Sequence[TurnRecord], redacted_utterance: str, after: int | None
) -> Sequence[TurnRecord]:
    """Return the turns since `after`, beginning with this utterance, or none if it is not there.

    The utterance is compared in its redacted form. Without an utterance, return all later turns.
    """
    later_turns = turns[after:] if after is not None else ()
    if not redacted_utterance.strip():
        return later_turns
    matches = [turn.speaker == "caller" and turn.text == redacted_utterance for turn in later_turns]
    return later_turns[matches.index(True) :] if True in matches else ()


def reply_among(later_turns: Sequence[TurnRecord]) -> TurnRecord | None:
    """Return the reply to the first turn.

    Without an utterance, the first turn is itself the reply.
    """
    if not later_turns or later_turns[0].speaker == "agent":
        return later_turns[0] if later_turns else None
    return next((turn for turn in later_turns if turn.answers == later_turns[0].sequence), None)


def find_reply(
    ref: CallRef, *, services: Services, after: int
) -> "tuple[tuple[SpokenChunk, ...], TurnResult] | None":
    """Return the stored reply to the turn that began after `after` turns, or None until then.

    If the call ended before the turn was answered, there will be no reply: return the actions of an
    ended call. Raises NotFound.
    """
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context, later_turns = record.lock_call_and_turns(session, ref.call_id, after=after)
        answer = reply_among(later_turns)
        if answer is None:
            return ((), ended_call_result(session, ref)) if call_context.has_ended else None
        answered = replay_reply(session, ref, call_context, answer, after + len(later_turns))
    return answered.chunks, answered.result


def replay_reply(
    session: Session, ref: CallRef, call_context: CallContext, answer: TurnRecord, turns: int
) -> AnsweredTurn:
    """Return a stored reply with the next actions; `turns` is the number of stored turns."""
    profile = call_context.agent
    chunk = SpokenChunk(answer.text, profile.language, profile.voice)
    if call_context.has_ended:
        return AnsweredTurn((chunk,), ended_call_result(session, ref))
    next_action = transfers.pending_transfer(call_context) or profile.listen()
    return AnsweredTurn((chunk,), TurnResult(ref, (next_action,), turns))


def ended_call_result(session: Session, ref: CallRef) -> TurnResult:
    """Return what a carrier does after the end of a call; the caller may have been forwarded."""
    number = outbound_legs.last_forward_number(session, call_id=ref.call_id)
    return TurnResult(ref, (HangUp() if number is None else ForwardOrder(number),))
