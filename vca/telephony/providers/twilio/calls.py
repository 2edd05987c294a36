"""Calls at Twilio: placed, found again, looked at, told what to do, ended."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vca.kit import clock
from vca.kit.phone import is_e164
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio import errors, statuses, twiml
from vca.telephony.providers.twilio.urls import callback
from vca.telephony.types import CallReply, Forward, OutboundCall, Seen, Transfer

if TYPE_CHECKING:
    from vca.telephony.providers.twilio.rest import Asking

_EVENTS = ["initiated", "ringing", "answered", "completed"]
_OUTBOUND = "outbound-api"
# How long before now a call may have been placed of which it is not known when; else how much our
# clock and Twilio's may differ, and how long placing one may take.
_RECENTLY = timedelta(minutes=10)
_BEFORE, _AFTER = timedelta(seconds=5), timedelta(seconds=15)
_MOST_LOOKED_AT = 50


def place(asking: "Asking", call: OutboundCall) -> str:
    """See `TelephonyAdapter.place_call`."""
    placed = asking.client.calls.create(
        to=call.number,
        from_=call.from_number,
        timeout=call.timeout_s,
        url=callback(call.callback_url, "voice", state=call.state),
        method="POST",
        status_callback=callback(
            call.callback_url, "status", reference=call.reference, state=call.state
        ),
        status_callback_method="POST",
        status_callback_event=_EVENTS,
    )
    if not placed.sid:
        raise errors.unreadable()
    return str(placed.sid)


def find(asking: "Asking", call: OutboundCall) -> str | None:
    """See `TelephonyAdapter.find_call`.

    Twilio keeps nothing of ours with a call, so it is the only one that we placed between these two
    numbers at that time. Of several, none can be said to be it: TelephonyError.
    """
    first = call.begun_at - _BEFORE if call.begun_at else clock.now() - _RECENTLY
    last = call.begun_at + _AFTER if call.begun_at else clock.now() + _BEFORE
    listed = asking.client.calls.list(to=call.number, from_=call.from_number, limit=_MOST_LOOKED_AT)
    found = [
        str(it.sid)
        for it in listed
        if it.direction == _OUTBOUND and it.date_created and first <= it.date_created <= last
    ]
    if len(found) > 1:
        raise TelephonyError(
            "several calls may be the one", permanent=False, code="not-certain", ambiguous=True
        )
    return found[0] if found else None


def look_up(asking: "Asking", call_sid: str) -> Seen | None:
    """See `TelephonyAdapter.look_up`."""
    found = _fetched(asking, call_sid)
    if found is None:
        return None
    status = str(found.status)
    if not statuses.is_over(status):
        return Seen(call_sid)
    return Seen(call_sid, statuses.event(status, call_sid, at=found.end_time or clock.now()))


def direct(asking: "Asking", call_sid: str, reply: CallReply, *, callback_url: str) -> None:
    """See `TelephonyAdapter.direct`."""
    document = twiml.render(
        reply,
        callback_url=callback_url,
        caller_id=_own_number(asking, call_sid) if _dials(reply) else None,
        most=twiml.LARGEST_ORDER,
    )
    asking.client.calls(call_sid).update(twiml=document)


def hang_up(asking: "Asking", call_sid: str) -> None:
    """See `TelephonyAdapter.hang_up`."""
    try:
        asking.client.calls(call_sid).update(status="completed")
    except TelephonyError as error:
        if error.code not in (errors.ENDED, errors.NOT_FOUND):
            raise


def _dials(reply: CallReply) -> bool:
    return any(isinstance(action, Forward | Transfer) for action in reply.actions)


def _own_number(asking: "Asking", call_sid: str) -> str | None:
    """The number of ours on the call, as which it dials."""
    found = _fetched(asking, call_sid)
    if found is None:
        return None
    number = found._from if found.direction == _OUTBOUND else found.to
    return number if number and is_e164(number) else None


def _fetched(asking: "Asking", call_sid: str) -> Any | None:
    try:
        return asking.client.calls(call_sid).fetch()
    except TelephonyError as error:
        if error.code != errors.NOT_FOUND:
            raise
        return None
