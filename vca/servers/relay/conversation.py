"""A call's conversation over its voice WebSocket: the caller's utterances and the agent's answers.

No transaction is open while anybody speaks. Frames that arrive while the agent answers are read
between two chunks of the answer: if the caller barges in, the rest of the answer is not requested.
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
from vca.tenant.calls.turns import call_flow, turn_handler

# No carrier reports when it has finished speaking, so the end is estimated: voices speak about
# fourteen characters per second. A silence starts at that time, and the call is not hung up before
# the goodbye has been spoken.
CHARACTERS_PER_SECOND = 14.0
# Keys that follow each other within this time are one number.
KEY_GAP_S = 2.0
_RECORD_BUDGET_S = 20.0
# How often to check for draining while nobody speaks.
_POLL_INTERVAL_S = 1.0
_APOLOGY_TEXT = next(action.text for action in fallback.FALLBACK_ACTIONS if isinstance(action, Say))


@dataclass(frozen=True)
class CallerInput:
    """What the caller said or pressed. If both are empty, the caller was silent."""

    text: str = ""
    keys: str = ""


class Conversation:
    """The conversation of one WebSocket. Call `converse` once."""

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
        """Talk until the call continues without the WebSocket. Raises ConnectionClosed.

        After any failure the caller hears an apology, and the carrier asks what to do next.
        """
        handoff = None
        try:
            handoff = self._run_turns()
        except DomainError as error:  # database unavailable, tenant being migrated, or call erased
            log.get_logger().error("relay.turn_failed", exc_info=error)
        finally:
            if handoff is None:
                self._apologise()
                handoff = voice_websockets.FAILED
            self._connection.send_end(handoff)

    def _run_turns(self) -> str:
        """Run turn after turn, and return the handoff value that ends the WebSocket."""
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

    def _agent_listens(self, result: TurnResult) -> bool:
        """Return whether the agent listens now.

        The result also says how long a silence may last from now on.
        """
        last = result.actions[-1]
        if isinstance(last, Listen):
            self._silence_s = last.silence_s
        return isinstance(last, Listen)

    def _wait_for_input(self) -> CallerInput | str:
        """Return the caller's next input, or the handoff value that ends the WebSocket.

        A silence is an input too.
        """
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
                case Interrupt(spoken_text):
                    self._record_interruption(spoken_text)
                    ends_at = monotonic() + self._silence_s
                case None if monotonic() >= ends_at:
                    return CallerInput(keys=keys)

    def _should_stop(self, keys: str) -> bool:
        """Return whether a draining process must end this WebSocket now.

        It ends at once if nobody speaks, and in the middle after the deadline.
        """
        if not draining.is_draining():
            return False
        return draining.deadline_passed() or (not keys and monotonic() >= self._speech_ends_at)

    def _answer_input(self, caller_input: CallerInput) -> TurnResult | CallerInput | None:
        """Speak the agent's answer and return its result.

        After a barge-in, return what the caller said, or None if only the speech was interrupted.
        """
        with deadline.within(self._services.models.latency_policy.turn_budget_s):
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
            return turn_handler.handle_keys(self._ref, keys=caller_input.keys, models=models)
        return turn_handler.handle_utterance(self._ref, utterance=caller_input.text, models=models)

    def _stream_answer(
        self, turn_stream: Generator[SpokenChunk, None, TurnResult]
    ) -> "TurnResult | _BargeIn":
        """Send each chunk as it arrives, until the end or until the caller barges in."""
        sent_texts: list[str] = []
        self._speech_ends_at = monotonic()  # earlier speech has stopped
        while True:
            try:
                chunk = next(turn_stream)
            except StopIteration as end:
                result: TurnResult = end.value
                return result
            frame = self._barge_in_frame(bool(sent_texts))
            if frame is not None:
                return _BargeIn(frame, tuple(sent_texts))
            self._send_text(chunk.text)
            sent_texts.append(chunk.text)

    def _barge_in_frame(self, is_speaking: bool) -> Frame | None:
        """Return the frame with which the caller barges in, or None.

        It is an utterance, or an interruption of a text that was being spoken.
        """
        while True:
            match self._next_frame(0.0):
                case None:
                    return None
                case Prompt(last=True) as frame:
                    return frame
                case Interrupt() as frame if is_speaking:
                    return frame

    def _handle_barge_in(self, barge_in: "_BargeIn") -> CallerInput | None:
        """Record how much the caller heard of an interrupted answer."""
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
        with deadline.within(_RECORD_BUDGET_S):
            call_flow.record_interruption(self._ref, heard_text=spoken_text)

    def _wait_until_spoken(self) -> None:
        """Let the caller hear the last text to its end, or until they interrupt it."""
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
        """Return the next frame, or None after the timeout.

        A failure of the carrier is logged and remembered.
        """
        self._lease.renew()
        frame = self._connection.receive_frame(max(0.0, timeout_s))
        if isinstance(frame, Failure):
            self._carrier_failed = True
            log.get_logger().warning("relay.carrier_failed", description=frame.description[:200])
        return frame


@dataclass(frozen=True)
class _BargeIn:
    """An answer that a frame interrupted, and the texts that were sent before."""

    frame: Frame
    sent_texts: tuple[str, ...]
