"""Calls as Telnyx has them: what commands do to them, and which events that makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

_ticks = count()
_BEGAN = datetime.now(UTC)
CONNECTION = "1293384261075731499"


class Refused(Exception):
    """What Telnyx does not do, with its code."""

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
    connection_id: str = CONNECTION
    client_state: str | None = None
    leg_id: str = field(default_factory=lambda: str(uuid4()))
    session_id: str = field(default_factory=lambda: str(uuid4()))
    alive: bool = True
    answered: bool = False
    transcribing: bool = False
    gather: Mapping[str, Any] | None = None
    relay: Mapping[str, Any] | None = None
    taped: Mapping[str, Any] | None = None
    target: "Leg | None" = None
    ended_at: datetime | None = None
    commands: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    ignored: int = 0


@dataclass
class Switch:
    """All calls of an account, the events that wait to be sent, and all that ever were."""

    legs: dict[str, Leg] = field(default_factory=dict)
    dialled: dict[str, Leg] = field(default_factory=dict)
    pending: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    recordings: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def ring(self, call: str, *, to: str, from_: str, **facts: Any) -> Leg:
        """Somebody calls."""
        leg = self.legs[call] = Leg(call, to, from_, **facts)
        self._tell(leg, "call.initiated", direction=leg.direction, state="parked")
        return leg

    def find(self, call: str) -> Leg:
        leg = self.legs.get(call)
        if leg is None:
            raise Refused(404, "10005", "Resource not found")
        return leg

    def dial(self, body: Mapping[str, Any]) -> Leg:
        """Dial once for each `command_id`."""
        if body["command_id"] in self.dialled:
            return self.dialled[body["command_id"]]
        call = f"v3:{uuid4().hex}"
        leg = Leg(call, body["to"], body["from"], "outgoing", client_state=body["client_state"])
        self.legs[call] = self.dialled[body["command_id"]] = leg
        self._tell(leg, "call.initiated", direction="outgoing", state="bridging")
        return leg

    def command(self, call: str, command: str, body: dict[str, Any]) -> None:
        """Do as a command says; one that was done already is ignored."""
        leg = self.find(call)
        if not leg.alive:
            raise Refused(422, "90018", "Call has already ended")
        if body["command_id"] in leg.ids:
            leg.ignored += 1
            return
        getattr(self, f"_{command}")(leg, body)
        leg.ids.add(body["command_id"])
        leg.commands.append((command, body))

    # --- What people do -------------------------------------------------------------------------

    def say(self, leg: Leg, words: str, *, final: bool = True) -> None:
        """The caller speaks, and is heard where somebody asked for it."""
        if leg.transcribing and leg.alive:
            heard = {"transcript": words, "is_final": final, "confidence": 0.97}
            self._tell(leg, "call.transcription", transcription_data=heard)

    def press(self, leg: Leg, keys: str) -> None:
        for key in keys:
            self._tell(leg, "call.dtmf.received", digit=key)
        self._gathered(leg, "valid", keys)

    def keep_silent(self, leg: Leg) -> None:
        """For longer than anybody waits."""
        self._gathered(leg, "timeout")

    def pick_up(self, leg: Leg) -> None:
        """Who is called takes the call."""
        leg.answered = True
        self._tell(leg, "call.answered", state="answered")

    def put_down(self, leg: Leg, cause: str = "normal_clearing", source: str = "caller") -> None:
        """A leg ends, with all that goes on in it."""
        if not leg.alive:
            return
        leg.alive, leg.ended_at = False, _moment()
        self._gathered(leg, "call_hangup")
        said = {"hangup_cause": cause, "hangup_source": source, "sip_hangup_cause": "200"}
        self._tell(leg, "call.hangup", state="hangup", **said)
        if leg.taped is not None:
            self._save(leg)
        if leg.target is not None:
            self.put_down(
                leg.target, "normal_clearing" if leg.target.answered else "originator_cancel"
            )

    def relay_ends(self, leg: Leg, reason: str) -> None:
        """The socket of a leg has ended, or never was there."""
        leg.relay = None
        self._tell(leg, "call.conversation.ended", reason=reason, duration_sec=3)

    def bridge(self, leg: Leg) -> None:
        """The target of a transfer takes the call."""
        assert leg.target is not None
        self.pick_up(leg.target)
        for each in (leg.target, leg):
            self._tell(each, "call.bridged")

    def part(self, leg: Leg, cause: str = "normal_clearing") -> None:
        """The target of a transfer ends; who talked to it is hung up as well."""
        assert leg.target is not None
        target, leg.target = leg.target, None
        self.put_down(target, cause, "callee")
        if target.answered:
            self.put_down(leg, source="callee")

    # --- What commands do -----------------------------------------------------------------------

    def _answer(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._carry(leg, body)
        self.pick_up(leg)

    def _reject(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._carry(leg, body)
        self.put_down(leg, "user_busy" if body["cause"] == "USER_BUSY" else "call_rejected")

    def _hangup(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._carry(leg, body)
        self.put_down(leg, source="callee")

    def _speak(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._may_speak(leg)
        self._carry(leg, body)
        for word in ("started", "ended"):
            self._tell(
                leg, f"call.speak.{word}", **({"status": "completed"} if word == "ended" else {})
            )

    def _gather(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._may_speak(leg)
        self._carry(leg, body)
        leg.gather = body

    _gather_using_speak = _gather

    def _gather_stop(self, leg: Leg, body: Mapping[str, Any]) -> None:
        if leg.gather is None:
            raise Refused(422, "90098", "Nothing is gathered")
        self._carry(leg, body)
        self._gathered(leg, "cancelled")

    def _playback_stop(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._carry(leg, body)

    def _transcription_start(self, leg: Leg, body: Mapping[str, Any]) -> None:
        if leg.transcribing:
            raise Refused(422, "90054", "Transcription is already on")
        self._may_speak(leg)
        self._carry(leg, body)
        leg.transcribing = True

    def _transcription_stop(self, leg: Leg, body: Mapping[str, Any]) -> None:
        if not leg.transcribing:
            raise Refused(422, "90097", "Nothing is transcribed")
        self._carry(leg, body)
        leg.transcribing = False

    def _conversation_relay_start(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._may_speak(leg)
        self._carry(leg, body)
        leg.relay = body

    def _conversation_relay_stop(self, leg: Leg, body: Mapping[str, Any]) -> None:
        if leg.relay is None:
            raise Refused(422, "90063", "No conversation goes on")
        self._carry(leg, body)
        self.relay_ends(leg, "stopped")

    def _record_start(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._may_speak(leg)
        self._carry(leg, body)
        leg.taped = body

    def _transfer(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._may_speak(leg)
        self._carry(leg, body)
        target = Leg(
            f"v3:{uuid4().hex}",
            body["to"],
            body.get("from", leg.to),
            "outgoing",
            client_state=body["target_leg_client_state"],
            session_id=leg.session_id,
        )
        leg.target = self.legs[target.id] = target
        self._tell(target, "call.initiated", direction="outgoing", state="bridging")

    def _send_dtmf(self, leg: Leg, body: Mapping[str, Any]) -> None:
        self._may_speak(leg)
        self._carry(leg, body)

    # --- What both share ------------------------------------------------------------------------

    def _may_speak(self, leg: Leg) -> None:
        """Telnyx does one thing at a time, and nothing before a call is answered."""
        if not leg.answered:
            raise Refused(422, "90034", "Call not answered yet")
        if leg.gather is not None:
            raise Refused(422, "90099", "Digits are being gathered")
        if leg.relay is not None:
            raise Refused(422, "90062", "A conversation goes on")

    def _carry(self, leg: Leg, body: Mapping[str, Any]) -> None:
        leg.client_state = body.get("client_state", leg.client_state)

    def _gathered(self, leg: Leg, status: str, digits: str = "") -> None:
        if leg.gather is not None:
            leg.gather = None
            self._tell(leg, "call.gather.ended", status=status, digits=digits)

    def _save(self, leg: Leg) -> None:
        """A recording is there once its call is over, or it is full; its event knows no call."""
        leg.taped, recording = None, str(uuid4())
        self.recordings[recording] = (leg.id, b"RIFF of " + leg.id.encode())
        self._tell(leg, "call.recording.saved", recording_id=recording, channels="dual")

    def fill(self, leg: Leg) -> None:
        """A voicemail is as long as it may be."""
        self._save(leg)

    def _tell(self, leg: Leg, event_type: str, **said: Any) -> None:
        event = told(leg, event_type, **said)
        self.pending.append(event)
        self.told.append(event)


def told(leg: Leg, event_type: str, **said: Any) -> dict[str, Any]:
    """An event of Telnyx's, as it is sent."""
    payload = {
        "call_control_id": leg.id,
        "call_leg_id": leg.leg_id,
        "call_session_id": leg.session_id,
        "client_state": leg.client_state,
        "connection_id": leg.connection_id,
        **({} if event_type.startswith("call.speak") else {"from": leg.from_, "to": leg.to}),
        **said,
    }
    if event_type == "call.recording.saved":
        for absent in ("call_control_id", "from", "to"):
            del payload[absent]
    data = {
        "record_type": "event",
        "event_type": event_type,
        "id": str(uuid4()),
        "occurred_at": _moment().isoformat().replace("+00:00", "Z"),
        "payload": payload,
    }
    return {"data": data, "meta": {"attempt": 1, "delivered_to": "https://voice.example.com/"}}


def _moment() -> datetime:
    """No two events are of the same time."""
    return _BEGAN + timedelta(milliseconds=next(_ticks))
