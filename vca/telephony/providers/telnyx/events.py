"""Parse Telnyx's events by their `event_type` and by the state that their leg carries.

A state counts only if we have made it for this leg. Any other is ignored.
The SDK's classes are not used, because they misread events that they do not know. An event that the
product does not wait for becomes `progress`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from vca.kit import json
from vca.kit.number_ranges import NumberRange
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.caller_id import called_number, parse_caller
from vca.telephony.providers.telnyx import client_state, command_builder, hangup_causes
from vca.telephony.providers.telnyx.client_state import Leg, LegState
from vca.telephony.state_signature import StateSigner
from vca.telephony.types import Caller, CallEvent, CarrierEvent, CarrierRequest, EventType

# Telnyx's `state` of an outbound call that waits for our command.
_PARKED = "parked"
_KEYS = re.compile(rf"[0-9*#]{{1,{command_builder.MAX_KEYS}}}", re.ASCII)
_MAX_CHARS = {"transcript": 10_000}
_DEFAULT_MAX_CHARS = 256
# Ends of a gather that need no response: we stopped it, or the call has ended.
_FINAL_GATHER_STATUSES = ("call_hangup", "cancelled", "cancelled_amd")
# A broken WebSocket. If we ended it ourselves, Telnyx does not return our handoff value.
_DISCONNECTED, _ENDED = "customer_disconnect", "ended"


@dataclass(frozen=True)
class EventContext:
    """What handling an event needs to know of its leg.

    `deferred`: the leg has spoken, and the commands that waited for that are due.
    """

    session_id: str = ""
    own_number: str = ""
    deferred: LegState | None = None


@dataclass(frozen=True)
class TelnyxEvent:
    """One event, parsed but not verified. `leg_state` is the state that counts."""

    id: str
    type: str
    occurred_at: datetime
    payload: Mapping[str, Any]
    leg_state: LegState | None
    added_ranges: Sequence[NumberRange] = ()

    def text_field(self, name: str, source: Mapping[str, Any] | None = None) -> str:
        """Return a text of the payload; empty if it is missing."""
        value = (self.payload if source is None else source).get(name)
        max_chars = _MAX_CHARS.get(name, _DEFAULT_MAX_CHARS)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > max_chars or not json.is_storable(value):
            raise InvalidCarrierRequest(f"{name} must be a text of at most {max_chars} characters")
        return value

    @property
    def leg(self) -> Leg:
        """Return the leg of the event."""
        return Leg(self.text_field("call_control_id"), self.text_field("call_session_id"))

    @property
    def call_id(self) -> str:
        """Return the id of the event's call, or the closest to it that the event has."""
        own_call_id = self.leg.call or self.text_field("call_leg_id") or self.id
        call_id = (self.leg_state.call if self.leg_state else "") or own_call_id
        if not client_state.is_call_id(call_id):
            raise InvalidCarrierRequest("the call id is malformed")
        return call_id

    @property
    def caller(self) -> Caller:
        """Return the caller; an odd or overlong text is no reason to reject the call."""
        value = self.payload.get("from")
        text = value if isinstance(value, str) else self.text_field("from")
        return parse_caller(text, self.added_ranges)

    def has_phase(self, *phases: str) -> bool:
        """Return whether its leg is in one of these phases."""
        return self.leg_state is not None and self.leg_state.phase in phases


def parse_event(body: bytes) -> TelnyxEvent:
    """Return the event in a request's body, without a state. Raises InvalidCarrierRequest."""
    try:
        document = json.tolerant_loads(body)
    except json.InvalidJson as error:
        raise InvalidCarrierRequest(str(error)) from None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("payload"), dict):
        raise InvalidCarrierRequest("the body contains no event")
    telnyx_event = TelnyxEvent("", "", _parse_time(data.get("occurred_at")), data["payload"], None)
    identifiers = {name: telnyx_event.text_field(name, data) for name in ("id", "event_type")}
    if not all(identifiers.values()):
        raise InvalidCarrierRequest("the event has no id or type")
    return replace(telnyx_event, id=identifiers["id"], type=identifiers["event_type"])


def parse_carrier_event(
    request: CarrierRequest, signer: StateSigner, added_ranges: Sequence[NumberRange]
) -> CarrierEvent:
    """Return the event as the product knows it."""
    telnyx_event = replace(parse_event(request.body), added_ranges=added_ranges)
    encoded_state = telnyx_event.payload.get("client_state")
    signed_state = client_state.decode_signed(encoded_state, signer)
    is_own_state = signed_state is not None and signed_state.belongs_to(telnyx_event.leg)
    leg_state = signed_state if is_own_state else None
    carrier_event = _parse_typed(replace(telnyx_event, leg_state=leg_state))
    if signed_state is not None or carrier_event.kind == "call":
        return carrier_event
    unsigned_state = client_state.decode_unsigned(encoded_state)
    if unsigned_state is None or not _may_belong_to(unsigned_state, telnyx_event.leg):
        return carrier_event
    unsigned_event = _parse_typed(replace(telnyx_event, leg_state=unsigned_state))
    return replace(carrier_event, unsigned=unsigned_event)


def _may_belong_to(unsigned_state: LegState, leg: Leg) -> bool:
    """Return whether an unsigned state names no other call than that of its leg."""
    if unsigned_state.phase == "target":
        return leg.call not in ("", unsigned_state.call)
    return not unsigned_state.call or leg.call in ("", unsigned_state.call)


def _parse_typed(telnyx_event: TelnyxEvent) -> CarrierEvent:
    return _PARSERS.get(telnyx_event.type, _ignored_event)(telnyx_event)


def _carrier_event(
    telnyx_event: TelnyxEvent, *, deferred: LegState | None = None, **overrides: Any
) -> CarrierEvent:
    leg_state = telnyx_event.leg_state
    deferred_commands = deferred.rest if deferred else ()
    defaults: dict[str, Any] = {
        "provider_call_id": telnyx_event.call_id,
        "called_number": called_number(telnyx_event.text_field("to"), telnyx_event.added_ranges),
        "caller": telnyx_event.caller,
        "state": leg_state.state if leg_state else None,
        "request_id": telnyx_event.id,
        "deferred_actions": tuple(command["command"] for command in deferred_commands),
        "deferred_numbers": tuple(
            str(command.get("to")) for command in deferred_commands if "to" in command
        ),
        "adapter_data": EventContext(
            telnyx_event.leg.session, leg_state.own_number if leg_state else "", deferred
        ),
    }
    return CarrierEvent(**{**defaults, **overrides})


def _ignored_event(telnyx_event: TelnyxEvent, *, deferred: LegState | None = None) -> CarrierEvent:
    """Return an event that the product does not wait for.

    `deferred`: the leg has spoken, and its deferred commands are due.
    """
    return _carrier_event(telnyx_event, kind="progress", deferred=deferred)


def _call_initiated(telnyx_event: TelnyxEvent) -> CarrierEvent:
    if telnyx_event.text_field("direction") == "incoming":
        return _carrier_event(telnyx_event, kind="call", unanswered=True, state=None)
    if telnyx_event.text_field("state") == _PARKED:
        # A browser calls us. It can choose its caller id and its client state.
        return _carrier_event(
            telnyx_event,
            kind="call",
            unanswered=True,
            state=None,
            caller=Caller(None, "other"),
            adapter_data=EventContext(telnyx_event.leg.session),
        )
    if telnyx_event.has_phase("dial"):
        return _carrier_event(
            telnyx_event, kind="status", event=_call_event(telnyx_event, "INITIATED")
        )
    return _ignored_event(telnyx_event)


def _call_answered(telnyx_event: TelnyxEvent) -> CarrierEvent:
    """Return `call` again for an inbound call, which can hear us from now on.

    For a call that we placed, return `answered`.
    """
    if telnyx_event.has_phase("ring"):
        return _carrier_event(telnyx_event, kind="call", state=None)
    return (
        _carrier_event(telnyx_event, kind="answered")
        if telnyx_event.has_phase("dial")
        else _ignored_event(telnyx_event)
    )


def _transcription(telnyx_event: TelnyxEvent) -> CarrierEvent:
    transcription = telnyx_event.payload.get("transcription_data")
    if not isinstance(transcription, dict):
        raise InvalidCarrierRequest("the transcription has no data")
    utterance = telnyx_event.text_field("transcript", transcription).strip()
    is_agent_track = telnyx_event.text_field("transcription_track", transcription) == "outbound"
    if (
        transcription.get("is_final") is not True
        or is_agent_track
        or not utterance
        or not telnyx_event.has_phase("listening")
    ):
        return _ignored_event(telnyx_event)
    return _carrier_event(telnyx_event, kind="speech", speech=utterance)


def _gather_ended(telnyx_event: TelnyxEvent) -> CarrierEvent:
    keys, is_final = (
        telnyx_event.text_field("digits"),
        telnyx_event.text_field("status") in _FINAL_GATHER_STATUSES,
    )
    if telnyx_event.has_phase("more") and not is_final:
        return _carrier_event(telnyx_event, kind="more")
    if is_final or not telnyx_event.has_phase("listening"):
        return _ignored_event(telnyx_event)
    if _KEYS.fullmatch(keys):
        return _carrier_event(telnyx_event, kind="keys", keys=keys)
    return (
        _ignored_event(telnyx_event)
        if keys
        else _carrier_event(telnyx_event, kind="speech", speech="")
    )


def _speak_ended(telnyx_event: TelnyxEvent) -> CarrierEvent:
    if telnyx_event.text_field("status") == "call_hangup" or telnyx_event.leg_state is None:
        return _ignored_event(telnyx_event)
    if telnyx_event.has_phase("more"):
        return _carrier_event(telnyx_event, kind="more")
    return _ignored_event(
        telnyx_event, deferred=telnyx_event.leg_state if telnyx_event.has_phase("then") else None
    )


def _hangup(telnyx_event: TelnyxEvent) -> CarrierEvent:
    cause = telnyx_event.text_field("hangup_cause")
    leg_state = telnyx_event.leg_state
    outcome = hangup_causes.hangup_outcome(cause, phase=leg_state.phase if leg_state else "")
    if leg_state is not None and leg_state.phase == "target":
        return _transfer_leg_ended(telnyx_event, leg_state, outcome)
    event = _call_event(telnyx_event, outcome.event_type, cause=cause)
    end_event = replace(
        event, end_reason=outcome.end_reason, end_detail=hangup_causes.clean_cause(cause)
    )
    return _carrier_event(telnyx_event, kind="status", event=end_event)


def _transfer_leg_ended(
    telnyx_event: TelnyxEvent, leg_state: LegState, outcome: hangup_causes.HangupOutcome
) -> CarrierEvent:
    """Return the end of a transfer's target leg.

    If a call was only forwarded and the target was not reached, nobody is left to talk to, so hang
    up.
    """
    if leg_state.state is not None:
        return _carrier_event(telnyx_event, kind="leg", leg=outcome.leg)
    if outcome.leg == "answered":
        return _ignored_event(telnyx_event)
    return _ignored_event(
        telnyx_event, deferred=LegState("then", call=leg_state.call, rest=({"command": "hangup"},))
    )


def _conversation_ended(telnyx_event: TelnyxEvent) -> CarrierEvent:
    if not telnyx_event.has_phase("relay"):
        return _ignored_event(telnyx_event)
    is_disconnected = telnyx_event.text_field("reason") == _DISCONNECTED
    return _carrier_event(telnyx_event, kind="relayed", handoff="" if is_disconnected else _ENDED)


def _recording_saved(telnyx_event: TelnyxEvent) -> CarrierEvent:
    kind = "voicemail" if telnyx_event.has_phase("voicemail") else "recording"
    return _carrier_event(
        telnyx_event, kind=kind, recording_id=telnyx_event.text_field("recording_id") or None
    )


def _recording_failed(telnyx_event: TelnyxEvent) -> CarrierEvent:
    """Hang up if a voicemail failed, because nobody talks to the caller any more."""
    if not telnyx_event.has_phase("voicemail"):
        return _ignored_event(telnyx_event)
    return _ignored_event(
        telnyx_event,
        deferred=LegState("then", call=telnyx_event.call_id, rest=({"command": "hangup"},)),
    )


_PARSERS: Mapping[str, Callable[[TelnyxEvent], CarrierEvent]] = {
    "call.initiated": _call_initiated,
    "call.answered": _call_answered,
    "call.transcription": _transcription,
    "call.gather.ended": _gather_ended,
    "call.speak.ended": _speak_ended,
    "call.conversation.ended": _conversation_ended,
    "call.hangup": _hangup,
    "call.recording.saved": _recording_saved,
    "call.recording.error": _recording_failed,
}


def _call_event(telnyx_event: TelnyxEvent, event_type: EventType, *, cause: str = "") -> CallEvent:
    """Return an event with its type as key: Telnyx sends it once per leg, but its id may vary."""
    sources = ("hangup_source", "sip_hangup_cause")
    details = {name: text for name in sources if (text := telnyx_event.text_field(name))}
    key = "-".join(filter(None, (telnyx_event.type, cause, telnyx_event.call_id)))
    return CallEvent(
        event_type, telnyx_event.call_id, telnyx_event.occurred_at, key, details=details
    )


def _parse_time(text: object) -> datetime:
    try:
        timestamp = datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError:
        raise InvalidCarrierRequest("occurred_at is not an ISO 8601 timestamp") from None
    if timestamp.tzinfo is None or not 1970 <= timestamp.year <= 9000:
        raise InvalidCarrierRequest(
            "occurred_at must have a UTC offset and a year from 1970 to 9000"
        )
    return timestamp.astimezone(UTC)
