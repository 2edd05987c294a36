"""Calls at Twilio: place, find, update and hang up."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vca.kit import clock
from vca.kit.number_ranges import NumberRange
from vca.telephony.adapter import TelephonyError
from vca.telephony.caller_id import parse_number
from vca.telephony.providers.twilio import errors, statuses, twiml
from vca.telephony.providers.twilio.callback_urls import CallbackUrls
from vca.telephony.state_signature import StateSigner
from vca.telephony.types import (
    CallReply,
    CallStatus,
    Forward,
    OutboundCall,
    PlacedCallQuery,
    Transfer,
)

if TYPE_CHECKING:
    from vca.telephony.providers.twilio.rest import RestSession

_EVENTS = ["initiated", "ringing", "answered", "completed"]
_OUTBOUND = "outbound-api"
# How far back to search if it is not known when the call was placed.
_SEARCH_WINDOW = timedelta(minutes=10)
# How much our clock and Twilio's may differ, and how long placing a call may take.
_MAX_CLOCK_SKEW, _MAX_PLACING_TIME = timedelta(seconds=5), timedelta(seconds=15)
_MAX_LISTED = 50


def place_call(session: "RestSession", signer: StateSigner, call: OutboundCall) -> str:
    """Place a call; see `TelephonyAdapter.place_call`."""
    callback_urls = CallbackUrls(call.callback_url, signer)
    call_resource = session.client.calls.create(
        to=call.permit.number,
        from_=call.from_number,
        timeout=call.timeout_s,
        url=callback_urls.build("voice", state=call.state),
        method="POST",
        status_callback=callback_urls.build("status", reference=call.reference, state=call.state),
        status_callback_method="POST",
        status_callback_event=_EVENTS,
    )
    if not call_resource.sid:
        raise errors.unreadable_response()
    return str(call_resource.sid)


def find_call(session: "RestSession", query: PlacedCallQuery) -> str | None:
    """Find a placed call; see `TelephonyAdapter.find_call`.

    Twilio does not store our reference with a call, so the match is the only call that we placed
    between these two numbers at that time. Raises TelephonyError if several calls match.
    """
    earliest = query.begun_at - _MAX_CLOCK_SKEW if query.begun_at else clock.now() - _SEARCH_WINDOW
    latest = query.begun_at + _MAX_PLACING_TIME if query.begun_at else clock.now() + _MAX_CLOCK_SKEW
    candidates = session.client.calls.list(
        to=query.number, from_=query.from_number, limit=_MAX_LISTED
    )
    matching_sids = [
        str(candidate.sid)
        for candidate in candidates
        if candidate.direction == _OUTBOUND
        and candidate.date_created
        and earliest <= candidate.date_created <= latest
    ]
    if len(matching_sids) > 1:
        raise TelephonyError(
            "several calls match", permanent=False, code="not-certain", ambiguous=True
        )
    return matching_sids[0] if matching_sids else None


def find_call_status(session: "RestSession", call_sid: str) -> CallStatus | None:
    """Return a call's status; see `TelephonyAdapter.find_call_status`."""
    call_resource = _fetch_call(session, call_sid)
    if call_resource is None:
        return None
    status = str(call_resource.status)
    if not statuses.has_ended(status):
        return CallStatus(call_sid)
    return CallStatus(
        call_sid,
        statuses.call_event(status, call_sid, timestamp=call_resource.end_time or clock.now()),
    )


def update_live_call(
    session: "RestSession",
    call_sid: str,
    reply: CallReply,
    *,
    callback_urls: CallbackUrls,
    added_ranges: Sequence[NumberRange],
) -> None:
    """Update a live call; see `TelephonyAdapter.update_live_call`."""
    document = twiml.render(
        reply,
        callback_urls=callback_urls,
        caller_id=_find_own_number(session, call_sid, added_ranges) if _dials(reply) else None,
        max_size=twiml.MAX_UPDATE_CHARS,
    )
    session.client.calls(call_sid).update(twiml=document)


def hang_up(session: "RestSession", call_sid: str) -> None:
    """End a call; see `TelephonyAdapter.hang_up`."""
    try:
        session.client.calls(call_sid).update(status="completed")
    except TelephonyError as error:
        if error.code not in (errors.CALL_ENDED, errors.NOT_FOUND):
            raise


def _dials(reply: CallReply) -> bool:
    return any(isinstance(action, Forward | Transfer) for action in reply.actions)


def _find_own_number(
    session: "RestSession", call_sid: str, added_ranges: Sequence[NumberRange]
) -> str | None:
    """Return our number in the call, which is the caller id when it dials, or None."""
    call_resource = _fetch_call(session, call_sid)
    if call_resource is None:
        return None
    is_outbound = call_resource.direction == _OUTBOUND
    return parse_number(call_resource._from if is_outbound else call_resource.to, added_ranges)


def _fetch_call(session: "RestSession", call_sid: str) -> Any | None:
    try:
        return session.client.calls(call_sid).fetch()
    except TelephonyError as error:
        if error.code != errors.NOT_FOUND:
            raise
        return None
