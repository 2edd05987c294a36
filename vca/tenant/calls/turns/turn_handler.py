"""Handle one turn: store the caller's utterance, answer it, and apply the agent's actions."""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from time import monotonic
from typing import Any

from sqlalchemy.orm import Session

from vca.audit import context
from vca.conversation import engine, speech_text
from vca.conversation import types as agent_actions
from vca.conversation.llm import ModelError, cancellation
from vca.conversation.llm.models import Models
from vca.conversation.redaction import NO_REDACTION
from vca.conversation.types import Reply
from vca.kit import clock, failpoints
from vca.kit.outcome_stream import PendingOutcome
from vca.observability import log, metrics
from vca.services import Services
from vca.telephony.types import CallEvent, HangUp
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import (
    latency,
    record,
    turn_records,
)
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.calls.core.call_profile import CallProfile
from vca.tenant.calls.core.call_types import (
    CallRef,
    ConnectionReplaced,
    SpokenChunk,
    TurnResult,
    TurnStream,
    Utterance,
)
from vca.tenant.calls.core.models import TurnRecord
from vca.tenant.calls.turns import conversation_inputs, reply_actions, stored_replies
from vca.tenant.calls.turns.reply_actions import AppliedActions


@dataclass(frozen=True)
class _PendingTurn:
    """A caller's turn that waits for an answer, with the call and its previous turns."""

    ref: CallRef
    call_context: CallContext
    previous_turns: Sequence[TurnRecord]
    utterance: str
    started_at: datetime
    answers: int | None  # the sequence of the caller's turn; None: the caller said nothing

    @property
    def profile(self) -> CallProfile:
        return self.call_context.agent

    def to_chunk(self, text: str) -> SpokenChunk:
        profile = self.profile
        return SpokenChunk(text, profile.language, profile.voice, profile.redaction)


def handle_utterance(
    ref: CallRef, utterance: Utterance, *, services: Services, models: Models
) -> TurnStream:
    """Return the agent's reply to an utterance as a stream that ends with the next actions.

    If the carrier repeats an utterance because our reply got lost, it gets the same reply. A turn
    that another process stored but did not answer is answered now. If the models fail, the call
    ends with the tenant's sentence.

    To stop early, close the stream: the text that was read from it is stored. An exception thrown
    into it stores nothing. Reading it raises NotFound, and ConnectionReplaced if the call uses
    another connection by now; then nothing is stored.
    """
    result = PendingOutcome[TurnResult]()
    return TurnStream(_answer_utterance(ref, utterance, models, result, services=services), result)


def _answer_utterance(
    ref: CallRef,
    utterance: Utterance,
    models: Models,
    result: PendingOutcome[TurnResult],
    *,
    services: Services,
) -> Generator[SpokenChunk, None, None]:
    started_s = monotonic()
    with tenant_session(ref.tenant, database=services.database) as session:
        turn = _store_caller_turn(session, ref, utterance)
    database_s = monotonic() - started_s
    failpoints.kill_if_armed("calls.turn.heard")
    if isinstance(turn, _PendingTurn):
        yield from _answer_turn(turn, models, database_s, result, services=services)
    else:
        yield from turn.chunks
        result.set(turn.result)


def _answer_turn(
    pending: _PendingTurn,
    models: Models,
    database_s: float,
    result: PendingOutcome[TurnResult],
    *,
    services: Services,
) -> Generator[SpokenChunk, None, None]:
    """Yield the reply of the models, store it and set the result."""
    texts: list[str] = []
    try:
        with engine.stream_reply(
            **_engine_inputs(pending, services=services), models=models
        ) as reply_stream:
            for text in reply_stream:
                texts.append(text)
                yield pending.to_chunk(text)
            reply = reply_stream.outcome
    except cancellation.Cancelled as cancelled:  # the call has ended
        result.set(_store_reply(pending, Reply("", tokens=cancelled.tokens), services=services))
        return
    except ModelError as error:
        sentence = _fallback_sentence(pending, error)
        yield pending.to_chunk(sentence)
        result.set(_store_fallback(pending, error, [*texts, sentence], services=services))
        return
    except GeneratorExit:
        if texts:
            _store_reply(
                pending,
                _interrupted_reply(pending, speech_text.join_chunks(texts), services=services),
                services=services,
            )
        raise
    latency_ms = latency.measure_turn(
        reply.latency_ms, database_s=database_s, total=clock.now() - pending.started_at
    )
    result.set(_store_reply(pending, replace(reply, latency_ms=latency_ms), services=services))


def store_utterance(ref: CallRef, utterance: Utterance, *, services: Services) -> None:
    """Store an utterance that another process will answer. Raises as `handle_utterance` does."""
    with tenant_session(ref.tenant, database=services.database) as session:
        _store_caller_turn(session, ref, utterance)


def _store_caller_turn(
    session: Session, ref: CallRef, utterance: Utterance
) -> _PendingTurn | stored_replies.AnsweredTurn:
    """Store the caller's turn unless it is stored already; return the pending or answered turn."""
    started_at = clock.now()
    call_context, turns = record.lock_call_and_turns(session, ref.call_id)
    if utterance.connection not in (None, call_context.websocket.current):
        raise ConnectionReplaced
    redaction = call_context.profile.redaction if call_context.profile else NO_REDACTION
    redacted_utterance = redaction.redact_text(utterance.text)
    known_turns = stored_replies.turns_since(turns, redacted_utterance, utterance.after)
    if (answer := stored_replies.reply_among(known_turns)) is not None:
        return stored_replies.replay_reply(session, ref, call_context, answer, len(turns))
    if call_context.has_ended or call_context.profile is None:
        return stored_replies.AnsweredTurn((), TurnResult(ref, (HangUp(),)))
    if known_turns:  # another process stored the turn and ended before it could answer
        previous_turns = turns[: known_turns[0].sequence - 1]
        return _PendingTurn(
            ref,
            call_context,
            previous_turns,
            known_turns[0].text,
            started_at,
            known_turns[0].sequence,
        )
    if not utterance.text.strip():
        return _PendingTurn(ref, call_context, turns, utterance.text, started_at, None)
    sequence = len(turns) + 1
    turn_records.insert_turn(
        session,
        ref.call_id,
        sequence=sequence,
        speaker="caller",
        text=redacted_utterance,
        started_at=started_at,
    )
    return _PendingTurn(ref, call_context, turns, utterance.text, started_at, sequence)


def _interrupted_reply(pending: _PendingTurn, text: str, *, services: Services) -> Reply:
    """Return the text so far as the reply, with its estimated tokens if the call is simulated.

    A client could otherwise avoid the quota of simulated tokens by closing each stream early.
    """
    if not pending.call_context.simulated:
        return Reply(text)
    return Reply(
        text, tokens=engine.estimate_tokens(text, **_engine_inputs(pending, services=services))
    )


def _engine_inputs(pending: _PendingTurn, *, services: Services) -> dict[str, Any]:
    return conversation_inputs.to_engine_inputs(
        pending.call_context,
        pending.previous_turns,
        pending.utterance,
        started_at=pending.started_at,
        services=services,
    )


def _fallback_sentence(pending: _PendingTurn, error: ModelError) -> str:
    """Report that no model answered, and return the tenant's sentence."""
    metrics.MODEL_FAILURES_TOTAL.inc(failure=error.failure)
    log.get_logger().error(
        "call.model_failed", call_id=str(pending.ref.call_id), **error.log_fields
    )
    return pending.call_context.texts.sentence("fallback", pending.profile.language)


def _store_fallback(
    pending: _PendingTurn, error: ModelError, texts: Sequence[str], *, services: Services
) -> TurnResult:
    """Store what was said, end the call and forward the caller to the number's fallback."""
    reply = Reply(
        speech_text.join_chunks(texts),
        (agent_actions.HangUp("model_error", error.end_detail),),
        tokens=error.tokens,
    )
    return _store_reply(pending, reply, to_fallback=True, services=services)


def _store_reply(
    pending: _PendingTurn, reply: Reply, *, services: Services, to_fallback: bool = False
) -> TurnResult:
    """Store the agent's turn and apply its actions, unless another process answered meanwhile."""
    failpoints.kill_if_armed("calls.turn.answered")
    # An actor's operation, such as a simulation, needs an audit entry.
    is_plain = (
        not reply.actions
        and context.current_context() is None
        and not pending.call_context.simulated  # whose tokens are recorded at once
    )
    result = (
        _store_plain_reply(pending, reply, services=services) if is_plain else None
    ) or _store_and_apply(pending, reply, to_fallback=to_fallback, services=services)
    failpoints.kill_if_armed("calls.turn.committed")
    return result


def _store_plain_reply(
    pending: _PendingTurn, reply: Reply, *, services: Services
) -> TurnResult | None:
    """Store a reply without actions in one round trip.

    Returns None and stores nothing if the call has ended or the turn was answered.
    """
    ref = pending.ref
    sequence = turn_records.store_reply(
        ref,
        text=pending.profile.redaction.redact_text(reply.text),
        started_at=clock.now(),
        **_turn_details(pending, reply),
        services=services,
    )
    if sequence is None:
        return None
    reply_actions.report_refused_tools(ref, reply)
    return TurnResult(ref, (pending.profile.listen(),), sequence)


def _store_and_apply(
    pending: _PendingTurn, reply: Reply, *, services: Services, to_fallback: bool
) -> TurnResult:
    ref, now = pending.ref, clock.now()
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context, later_turns = record.lock_call_and_turns(
            session, ref.call_id, after=len(pending.previous_turns)
        )
        turns = len(pending.previous_turns) + len(later_turns)
        if reply.tokens.total:  # the tokens were used even if the reply is not stored
            # The end of a call meters its tokens.
            record.add_tokens(session, call_context, reply.tokens)
        existing_replies = [
            turn for turn in later_turns if pending.answers and turn.answers == pending.answers
        ]
        if existing_replies:
            return stored_replies.replay_reply(
                session, ref, call_context, existing_replies[0], turns
            ).result
        if call_context.has_ended:
            return TurnResult(ref, (HangUp(),))
        applied = reply_actions.apply_actions(
            session,
            ref,
            call_context,
            reply.actions,
            redaction=pending.profile.redaction,
            now=now,
            to_fallback=to_fallback,
            services=services,
        )
        phrases = reply_actions.phrases_after_actions(pending.call_context, reply, applied)
        text = speech_text.join_chunks(filter(None, (reply.text, phrases)))
        turn_records.insert_turn(
            session,
            ref.call_id,
            sequence=turns + 1,
            speaker="agent",
            text=pending.profile.redaction.redact_text(text),
            started_at=now,
            **_turn_details(pending, reply),
        )
        if applied.end_reason is not None:
            _end_call(session, ref, applied, now=now, services=services)
    reply_actions.report_refused_tools(ref, reply)
    say_actions = (pending.profile.say(phrases),) if phrases else ()
    carrier_actions = (*say_actions, *applied.carrier_actions)
    return TurnResult(ref, carrier_actions, turns + 1)


def _turn_details(pending: _PendingTurn, reply: Reply) -> dict[str, Any]:
    return {
        "latency_ms": reply.latency_ms,
        "answers": pending.answers,
        "actions": [_action_record(pending, action) for action in reply.actions],
        "tokens": reply.tokens,
        "refused_tools": [
            pending.profile.redaction.redact_value(asdict(refused_tool))
            for refused_tool in reply.refused_tools
        ],
    }


def _action_record(pending: _PendingTurn, action: agent_actions.Action) -> Any:
    """Return the action as a turn has it; why a model failed is a detail of the call's end."""
    fields = asdict(action)
    fields.pop("end_detail", None)
    return pending.profile.redaction.redact_value(fields)


def _end_call(
    session: Session, ref: CallRef, applied: AppliedActions, *, services: Services, now: datetime
) -> None:
    event = CallEvent(
        "ENDED",
        ref.call_id.hex,
        now,
        "agent",
        end_reason=applied.end_reason,
        end_detail=applied.end_detail,
    )
    record.apply_event(session, ref.call_id, event, services=services)
