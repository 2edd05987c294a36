"""Run a turn over HTTP without silence: reply with the first text, and let the carrier poll.

The turn runs in a thread of its own. The reply is the text that is ready after 0.9 s plus a poll
action. A later poll waits for the turn if it runs in the same process. Any other process reads the
reply from the database once it is stored.
"""

from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import sleep
from typing import TypeAlias
from uuid import UUID
from zlib import crc32

from vca.conversation import redaction, speech_text
from vca.conversation.llm import cancellation
from vca.conversation.llm.cancellation import CancelToken
from vca.conversation.llm.models import Models
from vca.kit.deadline import Deadline
from vca.kit.thread_pool import ThreadPool
from vca.observability import log
from vca.services import Services
from vca.telephony.types import Poll
from vca.tenant.calls.core import state_machine
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import (
    CallRef,
    SpokenChunk,
    TurnResult,
    TurnStream,
    Utterance,
)
from vca.tenant.calls.core.state_machine import LifecycleState
from vca.tenant.calls.turns import stored_replies, turn_handler

POLL = Poll()
# Carriers get a reply within one second, so that none of them times out.
RESPOND_AFTER_S = 0.9
_FILLER_AFTER_S = 0.7
# The time that a turn takes in addition to the models, for the database.
_DATABASE_S = 2.0
# Each query is a transaction, so the pause doubles up to the maximum. The caller does not notice:
# the text that is being spoken takes longer than any pause.
_MIN_POLL_PAUSE_S, _MAX_POLL_PAUSE_S = 0.1, 0.4
_MAX_THREADS = 1_000  # more than the threads of any web server, so that no turn waits for another

RestOfReply: TypeAlias = tuple[list[SpokenChunk], TurnResult]
TurnKey: TypeAlias = tuple[UUID, int | None]


@dataclass
class PartialTurn:
    """The text so far. `result` is None while there is more to come."""

    chunks: list[SpokenChunk] = field(default_factory=list)
    result: TurnResult | None = None


@dataclass(frozen=True)
class _RunningTurn:
    """A turn that runs in this process: its text so far, and its future result."""

    future: "Future[TurnResult]"
    chunks: list[SpokenChunk]


# Threads start on demand, so after the fork. A process that shuts down waits for them.
_thread_pool = ThreadPool(_MAX_THREADS, name="turn")
_running_turns: dict[TurnKey, _RunningTurn] = {}
# The calls whose turns run in this process, also those that no carrier polls for yet.
_calls_by_token: dict[CancelToken, UUID] = {}


def start_turn(
    ref: CallRef, utterance: Utterance, *, services: Services, models: Models
) -> PartialTurn:
    """Answer an utterance for at most RESPOND_AFTER_S; the turn continues in its thread.

    Raises what the turn raises.
    """
    turn = turn_handler.handle_utterance(
        ref, utterance, models=_for_polling(models), services=services
    )
    chunks: list[SpokenChunk] = []
    cancel_token = CancelToken()
    _calls_by_token[cancel_token] = ref.call_id
    future = _thread_pool.submit(copy_context().run, _consume_turn, turn, chunks, cancel_token)
    future.add_done_callback(lambda _: _calls_by_token.pop(cancel_token))
    result = _result_in_time(future)
    if result is not None:
        return PartialTurn(chunks, result)
    _register_turn((ref.call_id, utterance.after), _RunningTurn(future, chunks))
    return PartialTurn(list(chunks))


def _for_polling(models: Models) -> Models:
    """Return models for a turn whose text is not spoken while it arrives.

    The filler must be ready before RESPOND_AFTER_S.
    """
    policy = models.latency_policy
    filler_s = min(policy.filler_s, _FILLER_AFTER_S)
    return replace(models, latency_policy=replace(policy, filler_s=filler_s, gather_text=True))


def start_polling(call_state: CallState, chunks: list[SpokenChunk], *, now: datetime) -> CallState:
    """Return the state of a call whose carrier gets these chunks and polls for the rest."""
    spoken_chars, spoken_checksum = _measure(_stored_text(chunks))
    return replace(
        call_state,
        spoken_chars=spoken_chars,
        spoken_checksum=spoken_checksum,
        polling_since=now,
    )


def cancel_turns_after_end(ref: CallRef, state: LifecycleState) -> None:
    """Stop the models of the call's turns in this process if the call has ended.

    Nobody hears their answers any more, and they are not stored. Their estimated tokens are.
    """
    if state.status not in state_machine.TERMINAL:
        return
    for cancel_token, call_id in list(_calls_by_token.items()):
        if call_id == ref.call_id:
            cancel_token.cancel()


def running_turns() -> list[TurnKey]:
    """Return the turns that run in this process and that carriers poll for."""
    return list(_running_turns)


def runs_here(ref: CallRef, *, after: int | None) -> bool:
    """Return whether the turn runs in this process."""
    return (ref.call_id, after) in _running_turns


def is_turn_lost(polling_since: datetime | None, *, services: Services, now: datetime) -> bool:
    """Return whether the carrier has polled for longer than a turn takes: its process has died."""
    latency_policy = services.models.latency_policy
    max_turn = timedelta(seconds=latency_policy.whole_s + _DATABASE_S)
    return polling_since is not None and now - polling_since > max_turn


def wait_for_rest(call_state: CallState, *, services: Services, after: int) -> RestOfReply | None:
    """Return what the carrier lacks of a reply that is complete within RESPOND_AFTER_S, else None.

    Waits directly for a turn of this process. Raises NotFound, and what such a turn raises.
    """
    running_turn = _running_turns.get((call_state.ref.call_id, after))
    if running_turn is not None:
        result = _result_in_time(running_turn.future)
        if result is not None:
            return _unspoken_chunks(running_turn.chunks, call_state), result
        return _find_rest(
            call_state, after=after, services=services
        )  # the call may have ended meanwhile
    deadline = Deadline.after(RESPOND_AFTER_S)
    pause_s = _MIN_POLL_PAUSE_S
    while True:
        rest = _find_rest(call_state, after=after, services=services)
        if rest is not None or pause_s > deadline.remaining_s:
            return rest
        sleep(pause_s)
        pause_s = min(2 * pause_s, _MAX_POLL_PAUSE_S)


def _find_rest(call_state: CallState, *, services: Services, after: int) -> RestOfReply | None:
    """Return what the carrier lacks of a stored reply, or None if there is no reply yet."""
    reply = stored_replies.find_reply(call_state.ref, after=after, services=services)
    if reply is None:
        return None
    chunks, result = reply
    remaining = [replace(chunk, text=_unspoken_text(chunk.text, call_state)) for chunk in chunks]
    return [chunk for chunk in remaining if chunk.text], result


def _unspoken_text(text: str, call_state: CallState) -> str:
    """Return the stored text without the part that the caller has heard.

    If it does not begin with that part, the whole text is said: another process answered the turn,
    or the redacted words began in one part and ended in the other.
    """
    if call_state.spoken_checksum is None:
        begins_with_part = not redaction.is_redacted(text)
    else:
        begins_with_part = _measure(text[: call_state.spoken_chars]) == _spoken(call_state)
    return text[call_state.spoken_chars :].strip() if begins_with_part else text


def _unspoken_chunks(chunks: list[SpokenChunk], call_state: CallState) -> list[SpokenChunk]:
    """Return the chunks after those that the caller has heard, or all if they begin otherwise."""
    for count in range(len(chunks) + 1):
        if _measure(_stored_text(chunks[:count])) == _spoken(call_state):
            return chunks[count:]
    return chunks


def _stored_text(chunks: list[SpokenChunk]) -> str:
    text = speech_text.join_chunks(chunk.text for chunk in chunks)
    return chunks[0].redaction.redact_text(text) if chunks else text


def _measure(text: str) -> tuple[int, int | None]:
    """Return the length and the checksum of a text, as a call's state has them."""
    return len(text), crc32(text.encode()) if text else None


def _spoken(call_state: CallState) -> tuple[int, int | None]:
    return call_state.spoken_chars, call_state.spoken_checksum


def _result_in_time(future: "Future[TurnResult]") -> TurnResult | None:
    """Return the result if the turn ends within RESPOND_AFTER_S; raise what the turn raises."""
    with suppress(TimeoutError):
        return future.result(RESPOND_AFTER_S)
    return future.result() if future.done() else None  # the turn itself may raise TimeoutError


def _register_turn(key: TurnKey, running_turn: _RunningTurn) -> None:
    """Let polls find the turn until it has ended."""

    def remove(future: "Future[TurnResult]") -> None:
        if _running_turns.get(key) is running_turn:
            del _running_turns[key]
        _log_failure(future)

    _running_turns[key] = running_turn
    running_turn.future.add_done_callback(remove)


def _consume_turn(
    turn: TurnStream, chunks: list[SpokenChunk], cancel_token: CancelToken
) -> TurnResult:
    with cancellation.cancel_scope(cancel_token):
        for chunk in turn:
            chunks.append(chunk)
    return turn.outcome


def _log_failure(future: "Future[TurnResult]") -> None:
    """Log the turn's error, because the first request does not wait for its result any more."""
    if (error := future.exception()) is not None:
        log.get_logger().warning("call.turn_failed", exc_info=error)
