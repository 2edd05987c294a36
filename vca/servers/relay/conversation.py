"""A call's conversation over its socket: what the caller says, the agent's words as they come.

No transaction is open while anybody speaks. The frames that come while the agent thinks are looked
at between two of its clauses: who breaks in is heard, and the rest of the answer is not asked for.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from time import monotonic

from vca.conversation import speech_text
from vca.kit import deadline
from vca.kit.errors import DomainError
from vca.observability import log
from vca.registry.tenants import service as tenants
from vca.servers.relay import draining
from vca.servers.relay.connection import VoiceConnection
from vca.servers.relay.frames import Failure, Frame, Interrupt, Key, Prompt
from vca.servers.relay.slot_lease import SlotLease
from vca.telephony.types import Listen, Say
from vca.tenant.calls.carrier_webhooks import fallback, voice_websockets
from vca.tenant.calls.carrier_webhooks.voice_websockets import AcceptedWebSocket
from vca.tenant.calls.core.call_services import CallServices
from vca.tenant.calls.core.call_types import SpokenChunk, TurnResult
from vca.tenant.calls.turns import call_flow

# No carrier tells when it has spoken to the end; voices say some fourteen characters a second. A
# silence is counted from then on, and nobody is hung up on while he is being told goodbye.
CHARACTERS_PER_SECOND = 14.0
# Keys that follow each other closely are one number.
KEY_GAP_S = 2.0
TURN_BUDGET_S = 20.0
# How soon a process that is to end is noticed where nobody speaks.
_POLL_INTERVAL_S = 1.0
_APOLOGY_TEXT = next(action.text for action in fallback.FALLBACK_ACTIONS if isinstance(action, Say))


@dataclass(frozen=True)
class CallerInput:
    """What the caller said or pressed; nothing of both is a silence."""

    text: str = ""
    keys: str = ""


class Conversation:
    """One socket's. `hold` is all of it."""

    def __init__(
        self,
        connection: VoiceConnection,
        admission: AcceptedWebSocket,
        lease: SlotLease,
        services: CallServices,
    ) -> None:
        self._connection = connection
        self._ref = admission.ref
        self._lease = lease
        self._services = services
        self._carrier_failed = False
        self._silence_s = admission.silence_s
        self._speech_ends_at = monotonic() + admission.greeting_chars / CHARACTERS_PER_SECOND

    def converse(self) -> None:
        """Talk until the call goes on without the socket. Raises ConnectionClosed.

        Whatever fails ends in a sentence, and in the carrier's asking what follows.
        """
        handoff = None
        try:
            handoff = self._run_turns()
        except DomainError as error:  # the database is away, the tenant upgraded, the call erased
            log.get_logger().error("relay.turn_failed", exc_info=error)
        finally:
            if handoff is None:
                self._apologise()
                handoff = voice_websockets.FAILED
            self._connection.send_end(handoff)

    def _run_turns(self) -> str:
        """Turn after turn; with what word the socket shall end."""
        pending_input: CallerInput | None = None
        while True:
            caller_input = pending_input or self._wait_for_input()
            if isinstance(caller_input, str):
                return caller_input
            result = self._answer_input(caller_input)
            pending_input = result if isinstance(result, CallerInput) else None
            if isinstance(result, TurnResult) and not self._agent_listens(result):
                self._wait_until_spoken()
                return voice_websockets.DONE

    def _agent_listens(self, outcome: TurnResult) -> bool:
        """Whether the agent listens now; how long for is the outcome's to say."""
        last = outcome.actions[-1]
        if isinstance(last, Listen):
            self._silence_s = last.silence_s
        return isinstance(last, Listen)

    def _wait_for_input(self) -> CallerInput | str:
        """What the caller says, a silence included; or the word with which the socket ends."""
        keys = ""
        ends_at = max(self._speech_ends_at, monotonic()) + self._silence_s
        while True:
            if self._carrier_failed:
                return voice_websockets.DONE
            if self._should_stop(keys):
                return voice_websockets.RESUME
            match self._next_frame(min(_POLL_INTERVAL_S, ends_at - monotonic())):
                case Prompt(text, last=True):
                    return CallerInput(text)
                case Prompt():
                    ends_at = max(ends_at, monotonic() + self._silence_s)
                case Key(key):
                    keys, ends_at = keys + key, monotonic() + KEY_GAP_S
                case Interrupt(heard):
                    self._record_interruption(heard)
                    ends_at = monotonic() + self._silence_s
                case None if monotonic() >= ends_at:
                    return CallerInput(keys=keys)

    def _should_stop(self, keys: str) -> bool:
        """At once where nobody speaks; a process that has to end does not wait for ever."""
        if not draining.is_draining():
            return False
        return draining.deadline_passed() or (not keys and monotonic() >= self._speech_ends_at)

    def _answer_input(self, caller_input: CallerInput) -> TurnResult | CallerInput | None:
        """Speak the agent's answer. None or what the caller said: he broke in, and it was cut."""
        with deadline.within(TURN_BUDGET_S):
            tenants.require_supported_schema(self._ref.tenant.id)
            with closing(self._start_turn(caller_input)) as turn_stream:
                result = self._stream_answer(turn_stream)
            if isinstance(result, _BargeIn):
                return self._handle_barge_in(result)
        closing_texts = [action.text for action in result.actions if isinstance(action, Say)]
        for text in closing_texts:
            self._send_text(text)
        self._connection.send_text("", last=True)
        return result

    def _start_turn(self, caller_input: CallerInput) -> Generator[SpokenChunk, None, TurnResult]:
        models = self._services.models
        if caller_input.keys:
            return call_flow.handle_keys(self._ref, keys=caller_input.keys, models=models)
        return call_flow.handle_utterance(self._ref, utterance=caller_input.text, models=models)

    def _stream_answer(
        self, turn_stream: Generator[SpokenChunk, None, TurnResult]
    ) -> "TurnResult | _BargeIn":
        """Say each clause as it comes, until all is said or the caller breaks in."""
        sent_texts: list[str] = []
        self._speech_ends_at = monotonic()  # who speaks hears no more of what was said before
        while True:
            try:
                chunk = next(turn_stream)
            except StopIteration as end:
                outcome: TurnResult = end.value
                return outcome
            frame = self._barge_in_frame(bool(sent_texts))
            if frame is not None:
                return _BargeIn(frame, tuple(sent_texts))
            self._send_text(chunk.text)
            sent_texts.append(chunk.text)

    def _barge_in_frame(self, is_speaking: bool) -> Frame | None:
        """A frame by which the caller breaks in: words, or a stop to words that were being said."""
        while True:
            match self._next_frame(0.0):
                case None:
                    return None
                case Prompt(last=True) as frame:
                    return frame
                case Interrupt() as frame if is_speaking:
                    return frame

    def _handle_barge_in(self, barge_in: "_BargeIn") -> CallerInput | None:
        """Note what was heard of an answer that was cut off."""
        if barge_in.sent_texts:
            self._connection.send_text("", last=True)
        if isinstance(barge_in.frame, Interrupt):
            self._record_interruption(barge_in.frame.spoken_text)
            return None
        assert isinstance(barge_in.frame, Prompt)
        self._record_interruption(speech_text.join_chunks(barge_in.sent_texts))
        return CallerInput(barge_in.frame.text)

    def _record_interruption(self, spoken_text: str) -> None:
        self._speech_ends_at = monotonic()
        with deadline.within(TURN_BUDGET_S):
            call_flow.record_interruption(self._ref, heard_text=spoken_text)

    def _wait_until_spoken(self) -> None:
        """Let the caller hear the last words to their end, or until he has had enough."""
        while (remaining_s := self._speech_ends_at - monotonic()) > 0:
            if isinstance(self._next_frame(remaining_s), Interrupt):
                return

    def _apologise(self) -> None:
        self._send_text(_APOLOGY_TEXT)
        self._connection.send_text("", last=True)
        self._wait_until_spoken()

    def _send_text(self, text: str) -> None:
        self._connection.send_text(f"{text} ")
        self._speech_ends_at += len(text) / CHARACTERS_PER_SECOND

    def _next_frame(self, timeout_s: float) -> Frame | None:
        """The next frame. Of what fails at the carrier it is only noted that it does."""
        self._lease.renew()
        frame = self._connection.receive_frame(max(0.0, timeout_s))
        if isinstance(frame, Failure):
            self._carrier_failed = True
            log.get_logger().warning("relay.carrier_failed", description=frame.description[:200])
        return frame


@dataclass(frozen=True)
class _BargeIn:
    """An answer that was cut off by a frame, after so many clauses."""

    frame: Frame
    sent_texts: tuple[str, ...]
