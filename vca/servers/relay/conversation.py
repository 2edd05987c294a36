"""A call's conversation over its voice WebSocket: the caller's utterances and the agent's answers.

No transaction is open while anybody speaks. Frames that arrive while the agent answers are read
between two chunks of the answer: if the caller barges in, the rest of the answer is not requested.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from time import monotonic

from simple_websocket import ConnectionClosed

from vca.conversation import speech_text, transcript
from vca.kit import deadline
from vca.kit.errors import DomainError
from vca.observability import log
from vca.registry.tenants import service as tenants
from vca.servers.relay.connection import NORMAL_CLOSURE, VoiceConnection
from vca.servers.relay.draining import PROCESS_DRAIN
from vca.servers.relay.frames import Failure, Frame, Interrupt, Key, Prompt
from vca.servers.relay.slot_lease import SlotLease
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.types import Listen, Say
from vca.tenant.calls.carrier_webhooks import voice_websockets
from vca.tenant.calls.carrier_webhooks.voice_websockets import AcceptedWebSocket
from vca.tenant.calls.core.call_types import ConnectionReplaced, TurnResult, TurnStream, Utterance
from vca.tenant.calls.turns import call_flow, spoken_language, turn_handler
from vca.tenant.calls.turns.call_flow import UnansweredUtterance

# No carrier reports when it has finished speaking, so the end is estimated: voices speak about
# fourteen characters per second. A silence starts at that time, and the call is not hung up before
# the goodbye has been spoken.
CHARACTERS_PER_SECOND = 14.0
# Keys that follow each other within this time are one number.
KEY_GAP_S = 2.0
_RECORD_BUDGET_S = 20.0
# How long a carrier may be silent between two frames that it sends again after reconnecting.
REPLAY_GAP_S = 0.3
# The handoff value of a conversation that another connection continues. No carrier sees it.
REPLACED = "replaced"
# How often to check for draining while nobody speaks.
_POLL_INTERVAL_S = 1.0


@dataclass(frozen=True)
class CallerInput:
    """What the caller said, or the keys that they pressed. It is empty if the caller was silent.

    `language` is the carrier's name of the language. `after` is the number of turns before an
    utterance that another process has stored.
    """

    text: str = ""
    language: str = ""
    after: int | None = None


class Conversation:
    """The conversation of one WebSocket. Call `converse` once."""

    def __init__(
        self,
        connection: VoiceConnection,
        admission: AcceptedWebSocket,
        lease: SlotLease,
        services: Services,
        adapter: TelephonyAdapter,
    ) -> None:
        self._connection = connection
        self._admission = admission
        self._ref = admission.ref
        self._lease = lease
        self._services = services
        self._adapter = adapter
        self._language = admission.language
        self._queued_frames: deque[Frame] = deque()
        self._keys = ""
        self._carrier_failed = False
        self._silence_s = admission.silence_s
        self._apology_text = admission.apology
        self._speech_ends_at = monotonic() + admission.greeting_chars / CHARACTERS_PER_SECOND

    def converse(self) -> None:
        """Talk until the call continues without the WebSocket. Raises ConnectionClosed.

        After any failure the caller hears an apology, and the carrier asks what to do next.
        """
        handoff = None
        try:
            handoff = self._run_turns()
        except ConnectionReplaced:  # the end of this connection did not reach us
            handoff = REPLACED
        except DomainError as error:  # database unavailable, tenant being migrated, or call erased
            log.get_logger().error("relay.turn_failed", exc_info=error)
        finally:
            if handoff is None:
                self._apologise()
                handoff = voice_websockets.FAILED
            self._end(handoff)

    def _end(self, handoff: str) -> None:
        """End the WebSocket in the way that the handoff value asks for.

        If another process continues the call, it answers what the caller says in the meantime.
        """
        if handoff == REPLACED:
            self._connection.close(NORMAL_CLOSURE)
        elif handoff != voice_websockets.RESUME:
            deque(self._connection.send_end(handoff), maxlen=0)
        else:
            websocket_format = self._adapter.websocket_format
            can_reconnect = websocket_format is not None and websocket_format.reconnects
            self._store_last_frames(
                self._connection.drop() if can_reconnect else self._connection.send_end(handoff)
            )

    def _store_last_frames(self, last_frames: Iterator[Frame]) -> None:
        """Store what the caller says until the connection has ended."""
        try:
            for frame in chain(self._queued_frames, last_frames):
                match frame:
                    case Prompt(text, last=True):
                        self._store_utterance(text)
                    case Key(key):
                        self._keys += key
                    case Interrupt(spoken_text):
                        self._record_interruption(spoken_text)
            if self._keys:
                self._store_utterance(transcript.dtmf_text(self._keys))
        except (ConnectionReplaced, DomainError) as error:
            log.get_logger().error("relay.utterance_lost", exc_info=error)

    def _store_utterance(self, text: str) -> None:
        with deadline.within(_RECORD_BUDGET_S):
            turn_handler.store_utterance(
                self._ref, Utterance(text, connection=self._admission.slot), services=self._services
            )

    def _run_turns(self) -> str:
        """Run turn after turn, and return the handoff value that ends the WebSocket."""
        pending_input = self._resume() if self._admission.is_reconnected else None
        while True:
            caller_input = pending_input or self._wait_for_input()
            if isinstance(caller_input, str):
                return caller_input
            result = self._answer_input(caller_input)
            pending_input = result if isinstance(result, CallerInput) else None
            if isinstance(result, TurnResult) and not self._agent_listens(result):
                self._wait_until_spoken()
                return voice_websockets.DONE

    def _resume(self) -> CallerInput | str | None:
        """Take over the call from a lost connection.

        Return an utterance that has no answer, None if the caller speaks next, or the handoff value
        if the call needs no WebSocket. The carrier has spoken the text that it was sent, so nothing
        is repeated but an answer during which the connection broke.
        """
        main_languages = self._admission.languages[:1]
        if main_languages and main_languages != (self._language,):
            self._send_language()
        with deadline.within(_RECORD_BUDGET_S):
            resumption = call_flow.resume_call(
                self._ref, repeat_last=False, services=self._services
            )
        if isinstance(resumption, UnansweredUtterance):
            self._queue_replayed_frames(resumption)
            return CallerInput(resumption.utterance.text, after=resumption.utterance.after)
        self._speech_ends_at = monotonic()
        unheard_texts = [action.text for action in resumption.actions if isinstance(action, Say)]
        if any(unheard_texts):
            self._send_answer_end(unheard_texts)
        return None if self._agent_listens(resumption) else voice_websockets.DONE

    def _queue_replayed_frames(self, unanswered: UnansweredUtterance) -> None:
        """Read what the carrier kept while it had no connection, and queue it behind the utterance.

        If the utterance is repeated, the earlier process has stored it before the connection broke.
        An interruption belongs to the agent's turn before it.
        """
        frames: list[Frame] = []
        is_repeated = False
        while frame := self._next_frame(REPLAY_GAP_S):
            match frame:
                case Interrupt(spoken_text):
                    self._record_interruption(spoken_text)
                case Prompt(text) if not is_repeated and unanswered.is_repeated_by(text):
                    is_repeated = frame.last
                case _:
                    frames.append(frame)
        self._queued_frames.extend(frames)

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
        ends_at = max(self._speech_ends_at, monotonic()) + self._silence_s
        if self._keys:  # pressed while the agent answered
            ends_at = monotonic() + KEY_GAP_S
        while True:
            if self._carrier_failed:
                return voice_websockets.DONE
            if self._should_stop():
                return voice_websockets.RESUME
            match self._next_frame(min(_POLL_INTERVAL_S, ends_at - monotonic())):
                case Prompt(text, True, language):
                    return CallerInput(text, language=language)
                case Prompt():
                    ends_at = max(ends_at, monotonic() + self._silence_s)
                case Key(key):
                    self._keys, ends_at = self._keys + key, monotonic() + KEY_GAP_S
                case Interrupt(spoken_text):
                    self._record_interruption(spoken_text)
                    ends_at = monotonic() + self._silence_s
                case None if monotonic() >= ends_at:
                    keys, self._keys = self._keys, ""
                    return CallerInput(transcript.dtmf_text(keys) if keys else "")

    def _should_stop(self) -> bool:
        """Return whether a draining process must end this WebSocket now.

        It ends at once if nobody speaks, and in the middle after the deadline.
        """
        if not PROCESS_DRAIN.is_active:
            return False
        is_silent = not self._keys and monotonic() >= self._speech_ends_at
        return PROCESS_DRAIN.is_overdue or is_silent

    def _answer_input(self, caller_input: CallerInput) -> TurnResult | CallerInput | None:
        """Speak the agent's answer and return its result.

        After a barge-in, return what the caller said, or None if only the speech was interrupted.
        """
        with deadline.within(self._services.models.latency_policy.turn_budget_s):
            tenants.require_supported_schema(self._ref.tenant.id, services=self._services)
            self._follow_language(caller_input)
            with self._start_turn(caller_input) as turn_stream:
                try:
                    result = self._stream_answer(turn_stream)
                except ConnectionClosed as error:
                    if self._connection.is_broken:
                        # Nobody can say how much the caller heard, so nothing is stored, and the
                        # utterance is answered again.
                        turn_stream.throw(error)
                    raise
            if isinstance(result, _BargeIn):
                return self._handle_barge_in(result)
        self._send_answer_end([action.text for action in result.actions if isinstance(action, Say)])
        return result

    def _send_answer_end(self, closing_texts: Iterable[str]) -> None:
        for text in closing_texts:
            self._send_text(text)
        self._connection.send_text("", last=True)

    def _start_turn(self, caller_input: CallerInput) -> TurnStream:
        utterance = Utterance(caller_input.text, caller_input.after, self._admission.slot)
        return turn_handler.handle_utterance(
            self._ref, utterance, models=self._services.models, services=self._services
        )

    def _follow_language(self, caller_input: CallerInput) -> None:
        """Change the language of the call to the caller's if the profile allows it."""
        language = spoken_language.match_language(
            self._admission.languages,
            reported_tag=caller_input.language,
            utterance=caller_input.text,
        )
        if language is None or language == self._language:
            return
        spoken_language.change_language(self._ref, language, services=self._services)
        self._language = language
        self._send_language()

    def _send_language(self) -> None:
        language = self._adapter.websocket_language(self._language)
        self._connection.send_language(language)

    def _stream_answer(self, turn_stream: TurnStream) -> "TurnResult | _BargeIn":
        """Send each chunk as it arrives, until the end or until the caller barges in."""
        sent_texts: list[str] = []
        self._speech_ends_at = monotonic()  # earlier speech has stopped
        for chunk in turn_stream:
            frame = self._barge_in_frame(bool(sent_texts))
            if frame is not None:
                return _BargeIn(frame, tuple(sent_texts))
            self._send_text(chunk.text)
            sent_texts.append(chunk.text)
        return turn_stream.outcome

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
                case Key(key):
                    self._keys += key

    def _handle_barge_in(self, barge_in: "_BargeIn") -> CallerInput | None:
        """Record how much the caller heard of an interrupted answer."""
        if barge_in.sent_texts:
            self._connection.send_text("", last=True)
        if isinstance(barge_in.frame, Interrupt):
            self._record_interruption(barge_in.frame.spoken_text)
            return None
        assert isinstance(barge_in.frame, Prompt)
        self._record_interruption(speech_text.join_chunks(barge_in.sent_texts))
        return CallerInput(barge_in.frame.text, language=barge_in.frame.language)

    def _record_interruption(self, spoken_text: str) -> None:
        self._speech_ends_at = monotonic()
        with deadline.within(_RECORD_BUDGET_S):
            call_flow.record_interruption(
                self._ref, heard_text=spoken_text, services=self._services
            )

    def _wait_until_spoken(self) -> None:
        """Let the caller hear the last text to its end, or until they interrupt it."""
        while (remaining_s := self._speech_ends_at - monotonic()) > 0:
            if isinstance(self._next_frame(remaining_s), Interrupt):
                return

    def _apologise(self) -> None:
        self._send_text(self._apology_text)
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
        if self._queued_frames:
            return self._queued_frames.popleft()
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
