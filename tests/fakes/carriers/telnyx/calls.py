"""Telnyx's calls: what commands do to them, and which events result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

_ticks = count()
_EPOCH = datetime.now(UTC)
CONNECTION_ID = "1293384261075731499"


class TelnyxError(Exception):
    """An error response of Telnyx, with its code."""

    def __init__(self, status: int, code: str, title: str) -> None:
        super().__init__(title)
        self.status = status
        self.code = code
        self.title = title


@dataclass
class Leg:
    """One leg of a call."""

    id: str
    to: str
    from_: str
    direction: str = "incoming"
    connection_id: str = CONNECTION_ID
    client_state: str | None = None
    leg_id: str = field(default_factory=lambda: str(uuid4()))
    session_id: str = field(default_factory=lambda: str(uuid4()))
    alive: bool = True
    answered: bool = False
    transcribing: bool = False
    gather: Mapping[str, Any] | None = None
    relay: Mapping[str, Any] | None = None
    recording_order: Mapping[str, Any] | None = None
    target: "Leg | None" = None
    ended_at: datetime | None = None
    commands: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    command_ids: set[str] = field(default_factory=set)
    ignored_count: int = 0


@dataclass
class Switch:
    """All calls of an account, the events to be sent, and all events so far."""

    legs: dict[str, Leg] = field(default_factory=dict)
    dialled: dict[str, Leg] = field(default_factory=dict)
    pending: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    recordings: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def ring(self, call: str, *, to: str, from_: str, **leg_fields: Any) -> Leg:
        """Start an inbound call."""
        leg = self.legs[call] = Leg(call, to, from_, **leg_fields)
        self._emit(leg, "call.initiated", direction=leg.direction, state="parked")
        return leg

    def find(self, call: str) -> Leg:
        leg = self.legs.get(call)
        if leg is None:
            raise TelnyxError(404, "10005", "Resource not found")
        return leg

    def dial(self, body: Mapping[str, Any]) -> Leg:
        """Dial once for each `command_id`."""
        if body["command_id"] in self.dialled:
            return self.dialled[body["command_id"]]
        call = f"v3:{uuid4().hex}"
        leg = Leg(call, body["to"], body["from"], "outgoing", client_state=body["client_state"])
        self.legs[call] = self.dialled[body["command_id"]] = leg
        self._emit(leg, "call.initiated", direction="outgoing", state="bridging")
        return leg

    def command(self, call: str, command: str, body: dict[str, Any]) -> None:
        """Execute a command; ignore one with a known `command_id`."""
        leg = self.find(call)
        if not leg.alive:
            raise TelnyxError(422, "90018", "Call has already ended")
        if body["command_id"] in leg.command_ids:
            leg.ignored_count += 1
            return
        getattr(self, f"_{command}")(leg, body)
        leg.command_ids.add(body["command_id"])
        leg.commands.append((command, body))

    # Actions of people

    def say(self, leg: Leg, text: str, *, final: bool = True) -> None:
        """Send what the caller says, if transcription is on."""
        if leg.transcribing and leg.alive:
            transcription = {"transcript": text, "is_final": final, "confidence": 0.97}
            self._emit(leg, "call.transcription", transcription_data=transcription)

    def press(self, leg: Leg, keys: str) -> None:
        for key in keys:
            self._emit(leg, "call.dtmf.received", digit=key)
        self._end_gather(leg, "valid", keys)

    def keep_silent(self, leg: Leg) -> None:
        """Let the time limit for keys expire."""
        self._end_gather(leg, "timeout")

    def answer_leg(self, leg: Leg) -> None:
        """Answer the leg."""
        leg.answered = True
        self._emit(leg, "call.answered", state="answered")

    def end_leg(self, leg: Leg, cause: str = "normal_clearing", source: str = "caller") -> None:
        """End a leg, with its gathering, recording and transfer."""
        if not leg.alive:
            return
        leg.alive, leg.ended_at = False, _next_timestamp()
        self._end_gather(leg, "call_hangup")
        hangup_fields = {"hangup_cause": cause, "hangup_source": source, "sip_hangup_cause": "200"}
        self._emit(leg, "call.hangup", state="hangup", **hangup_fields)
        if leg.recording_order is not None:
            self._save_recording(leg)
        if leg.target is not None:
            self.end_leg(
                leg.target, "normal_clearing" if leg.target.answered else "originator_cancel"
            )

    def end_relay(self, leg: Leg, reason: str) -> None:
        """End the WebSocket of a leg, or report that it could not be opened."""
        leg.relay = None
        self._emit(leg, "call.conversation.ended", reason=reason, duration_sec=3)

    def bridge(self, leg: Leg) -> None:
        """Answer the target of a transfer."""
        assert leg.target is not None
        self.answer_leg(leg.target)
        for bridged_leg in (leg.target, leg):
            self._emit(bridged_leg, "call.bridged")

    def end_target(self, leg: Leg, cause: str = "normal_clearing") -> None:
        """End the target of a transfer. If it was answered, the caller's leg ends too."""
        assert leg.target is not None
        target, leg.target = leg.target, None
        self.end_leg(target, cause, "callee")
        if target.answered:
            self.end_leg(leg, source="callee")

    # Commands

    def _answer(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._set_client_state(leg, body)
        self.answer_leg(leg)

    def _reject(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._set_client_state(leg, body)
        self.end_leg(leg, "user_busy" if body["cause"] == "USER_BUSY" else "call_rejected")

    def _hangup(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._set_client_state(leg, body)
        self.end_leg(leg, source="callee")

    def _speak(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._require_idle(leg)
        self._set_client_state(leg, body)
        for phase in ("started", "ended"):
            self._emit(
                leg, f"call.speak.{phase}", **({"status": "completed"} if phase == "ended" else {})
            )

    def _gather(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._require_idle(leg)
        self._set_client_state(leg, body)
        leg.gather = body

    _gather_using_speak = _gather

    def _gather_stop(self, leg: Leg, body: Mapping[str, Any]) -> None:
        if leg.gather is None:
            raise TelnyxError(422, "90098", "Nothing is gathered")
        self._set_client_state(leg, body)
        self._end_gather(leg, "cancelled")

    def _playback_stop(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._set_client_state(leg, body)

    def _transcription_start(self, leg: Leg, body: Mapping[str, Any]) -> None:
        if leg.transcribing:
            raise TelnyxError(422, "90054", "Transcription is already on")
        self._require_idle(leg)
        self._set_client_state(leg, body)
        leg.transcribing = True

    def _transcription_stop(self, leg: Leg, body: Mapping[str, Any]) -> None:
        if not leg.transcribing:
            raise TelnyxError(422, "90097", "Nothing is transcribed")
        self._set_client_state(leg, body)
        leg.transcribing = False

    def _conversation_relay_start(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._require_idle(leg)
        self._set_client_state(leg, body)
        leg.relay = body

    def _conversation_relay_stop(self, leg: Leg, body: Mapping[str, Any]) -> None:
        if leg.relay is None:
            raise TelnyxError(422, "90063", "No conversation goes on")
        self._set_client_state(leg, body)
        self.end_relay(leg, "stopped")

    def _record_start(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._require_idle(leg)
        self._set_client_state(leg, body)
        leg.recording_order = body

    def _transfer(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._require_idle(leg)
        self._set_client_state(leg, body)
        target = Leg(
            f"v3:{uuid4().hex}",
            body["to"],
            body.get("from", leg.to),
            "outgoing",
            client_state=body["target_leg_client_state"],
            session_id=leg.session_id,
        )
        leg.target = self.legs[target.id] = target
        self._emit(target, "call.initiated", direction="outgoing", state="bridging")

    def _send_dtmf(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._require_idle(leg)
        self._set_client_state(leg, body)

    # Shared by both

    def _require_idle(self, leg: Leg) -> None:
        """Refuse a command before the leg is answered or while another runs, as Telnyx does."""
        if not leg.answered:
            raise TelnyxError(422, "90034", "Call not answered yet")
        if leg.gather is not None:
            raise TelnyxError(422, "90099", "Digits are being gathered")
        if leg.relay is not None:
            raise TelnyxError(422, "90062", "A conversation goes on")

    def _set_client_state(self, leg: Leg, body: Mapping[str, Any]) -> None:
        leg.client_state = body.get("client_state", leg.client_state)

    def _end_gather(self, leg: Leg, status: str, digits: str = "") -> None:
        if leg.gather is not None:
            leg.gather = None
            self._emit(leg, "call.gather.ended", status=status, digits=digits)

    def _save_recording(self, leg: Leg) -> None:
        """Save a recording that is full or whose call has ended. Its event names no call."""
        leg.recording_order, recording = None, str(uuid4())
        self.recordings[recording] = (leg.id, b"RIFF of " + leg.id.encode())
        self._emit(leg, "call.recording.saved", recording_id=recording, channels="dual")

    def fill_recording(self, leg: Leg) -> None:
        """Let a voicemail reach its maximum length."""
        self._save_recording(leg)

    def _emit(self, leg: Leg, event_type: str, **payload_fields: Any) -> None:
        event = build_event(leg, event_type, **payload_fields)
        self.pending.append(event)
        self.events.append(event)


def build_event(leg: Leg, event_type: str, **payload_fields: Any) -> dict[str, Any]:
    """Return an event as Telnyx sends it."""
    payload = {
        "call_control_id": leg.id,
        "call_leg_id": leg.leg_id,
        "call_session_id": leg.session_id,
        "client_state": leg.client_state,
        "connection_id": leg.connection_id,
        **({} if event_type.startswith("call.speak") else {"from": leg.from_, "to": leg.to}),
        **payload_fields,
    }
    if event_type == "call.recording.saved":
        for field_name in ("call_control_id", "from", "to"):
            del payload[field_name]
    data = {
        "record_type": "event",
        "event_type": event_type,
        "id": str(uuid4()),
        "occurred_at": _next_timestamp().isoformat().replace("+00:00", "Z"),
        "payload": payload,
    }
    return {"data": data, "meta": {"attempt": 1, "delivered_to": "https://voice.example.com/"}}


def _next_timestamp() -> datetime:
    """Return a time that no other event has."""
    return _EPOCH + timedelta(milliseconds=next(_ticks))
