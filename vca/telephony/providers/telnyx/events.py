"""What Telnyx's events say, by their `event_type` and by the mark that their leg carries.

Never by the SDK's classes: what it does not know it takes for something else. Whatever says nothing
that the product waits for is `progress`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from vca.kit import json
from vca.kit.phone import is_e164
from vca.telephony.adapter import BadCarrierRequest
from vca.telephony.callers import read_caller
from vca.telephony.providers.telnyx import marks, orders, outcomes
from vca.telephony.providers.telnyx.marks import Mark
from vca.telephony.types import CallEvent, CarrierFacts, CarrierRequest, EventType

_KEYS = re.compile(rf"[0-9*#]{{1,{orders.MOST_KEYS}}}", re.ASCII)
_SIP = re.compile(r"\Asips?:([^@;]*)", re.IGNORECASE)
_LONGEST = {"transcript": 10_000, "from": 256, "to": 256}
_LONGEST_OTHER = 256
# A gather's ends that nobody has to answer: we stopped it, or the call is over.
_SETTLED = ("call_hangup", "cancelled", "cancelled_amd")
# A socket that broke. Of one that we have ended Telnyx does not bring our word back.
_BROKEN, _ENDED = "customer_disconnect", "ended"


@dataclass(frozen=True)
class Told:
    """One event, read but not yet believed."""

    id: str
    type: str
    at: datetime
    payload: Mapping[str, Any]
    mark: Mark | None

    def text(self, name: str, within: Mapping[str, Any] | None = None) -> str:
        """A text of the payload's, empty where it is not there."""
        value = (self.payload if within is None else within).get(name)
        longest = _LONGEST.get(name, _LONGEST_OTHER)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > longest:
            raise BadCarrierRequest(f"{name} is not a text of at most {longest} characters")
        return value

    @property
    def call(self) -> str:
        """The call that this is about, or what comes next to its id in such an event."""
        own = self.text("call_control_id") or self.text("call_leg_id") or self.id
        call = (self.mark.call if self.mark else "") or own
        if not marks.is_call(call):
            raise BadCarrierRequest("that is no id of a call")
        return call

    def is_in(self, *phases: str) -> bool:
        """Whether its leg is about one of these."""
        return self.mark is not None and self.mark.phase in phases


def read(body: bytes) -> Told:
    """An event's envelope; raises BadCarrierRequest."""
    try:
        said = json.strict_loads(body)
    except json.BadJson as error:
        raise BadCarrierRequest(str(error)) from None
    data = said.get("data") if isinstance(said, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("payload"), dict):
        raise BadCarrierRequest("it holds no event")
    told = Told("", "", _moment(data.get("occurred_at")), data["payload"], None)
    named = {name: told.text(name, data) for name in ("id", "event_type")}
    if not all(named.values()):
        raise BadCarrierRequest("the event has no id or no type")
    mark = marks.read(data["payload"].get("client_state"))
    return replace(told, id=named["id"], type=named["event_type"], mark=mark)


def facts(request: CarrierRequest) -> CarrierFacts:
    """The event as the product knows it."""
    told = read(request.body)
    return _READERS.get(told.type, _progress)(told)


def _facts(told: Told, **said: Any) -> CarrierFacts:
    known: dict[str, Any] = {
        "provider_call_id": told.call,
        "called_number": _number(told.text("to")),
        "caller": read_caller(told.text("from")),
        "state": told.mark.state if told.mark else None,
        "request_id": told.id,
        "carried": told.mark.encoded() if told.mark else "",
    }
    return CarrierFacts(**{**known, **said})


def _progress(told: Told, *, due: Mark | None = None) -> CarrierFacts:
    """Nothing that the product waits for. `due`: the leg has spoken, and does now what waited."""
    return _facts(told, kind="progress", carried=due.encoded() if due else "")


def _initiated(told: Told) -> CarrierFacts:
    if told.text("direction") == "incoming":
        return _facts(told, kind="call", unanswered=True, state=None)
    if told.is_in("dial"):
        return _facts(told, kind="status", event=_event(told, "INITIATED"))
    return _progress(told)


def _answered(told: Told) -> CarrierFacts:
    """Who called us hears us from now on: the ring again. Whom we called has taken it."""
    if told.is_in("ring"):
        return _facts(told, kind="call", state=None)
    return _facts(told, kind="answered") if told.is_in("dial") else _progress(told)


def _transcribed(told: Told) -> CarrierFacts:
    heard = told.payload.get("transcription_data")
    if not isinstance(heard, dict):
        raise BadCarrierRequest("a transcription of nothing")
    words = told.text("transcript", heard).strip()
    ours = told.text("transcription_track", heard) == "outbound"
    if heard.get("is_final") is not True or ours or not words or not told.is_in("listening"):
        return _progress(told)
    return _facts(told, kind="speech", speech=words)


def _gathered(told: Told) -> CarrierFacts:
    keys, settled = told.text("digits"), told.text("status") in _SETTLED
    if told.is_in("more") and not settled:
        return _facts(told, kind="more")
    if settled or not told.is_in("listening"):
        return _progress(told)
    if _KEYS.fullmatch(keys):
        return _facts(told, kind="keys", keys=keys)
    return _progress(told) if keys else _facts(told, kind="speech", speech="")


def _spoken(told: Told) -> CarrierFacts:
    if told.text("status") == "call_hangup" or told.mark is None:
        return _progress(told)
    if told.is_in("more"):
        return _facts(told, kind="more")
    return _progress(told, due=told.mark if told.is_in("then") else None)


def _hung_up(told: Told) -> CarrierFacts:
    cause = told.text("hangup_cause")
    mark = told.mark
    outcome = outcomes.of(cause, phase=mark.phase if mark else "")
    if mark is not None and mark.phase == "target":
        return _leg_ended(told, mark, outcome)
    event = _event(told, outcome.event_type, cause=cause)
    ended = replace(event, end_reason=outcome.end_reason, end_detail=outcomes.detail(cause))
    return _facts(told, kind="status", event=ended)


def _leg_ended(told: Told, mark: Mark, outcome: outcomes.Outcome) -> CarrierFacts:
    """A transfer's target. One that was only forwarded to, and not reached, leaves nobody there."""
    if mark.state is not None:
        return _facts(told, kind="leg", leg=outcome.leg)
    if outcome.leg == "answered":
        return _progress(told)
    return _progress(told, due=Mark("then", call=mark.call, rest=({"command": "hangup"},)))


def _relayed(told: Told) -> CarrierFacts:
    if not told.is_in("relay"):
        return _progress(told)
    broken = told.text("reason") == _BROKEN
    return _facts(told, kind="relayed", handoff="" if broken else _ENDED)


def _recorded(told: Told) -> CarrierFacts:
    kind = "voicemail" if told.is_in("voicemail") else "recording"
    return _facts(told, kind=kind, recording_id=told.text("recording_id") or None)


def _not_recorded(told: Told) -> CarrierFacts:
    """Who leaves a voicemail talks to nobody now."""
    if not told.is_in("voicemail"):
        return _progress(told)
    return _progress(told, due=Mark("then", call=told.call, rest=({"command": "hangup"},)))


_READERS: Mapping[str, Callable[[Told], CarrierFacts]] = {
    "call.initiated": _initiated,
    "call.answered": _answered,
    "call.transcription": _transcribed,
    "call.gather.ended": _gathered,
    "call.speak.ended": _spoken,
    "call.conversation.ended": _relayed,
    "call.hangup": _hung_up,
    "call.recording.saved": _recorded,
    "call.recording.error": _not_recorded,
}


def _event(told: Told, event_type: EventType, *, cause: str = "") -> CallEvent:
    """Named by what it is: Telnyx tells each of these once of a leg, under whatever id."""
    sources = ("hangup_source", "sip_hangup_cause")
    details = {name: text for name in sources if (text := told.text(name))}
    key = "-".join(filter(None, (told.type, cause, told.call)))
    return CallEvent(event_type, told.call, told.at, key, details=details)


def _number(text: str) -> str:
    """What was called, out of a SIP address too."""
    sip = _SIP.match(text)
    user = sip[1] if sip else text
    return user if is_e164(user) else text[:64]


def _moment(text: object) -> datetime:
    try:
        moment = datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError:
        raise BadCarrierRequest("occurred_at is not a time") from None
    if moment.tzinfo is None or not 1970 <= moment.year <= 9000:
        raise BadCarrierRequest("occurred_at is not a time with an offset")
    return moment.astimezone(UTC)
