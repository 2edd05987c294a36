"""Every call ends: one that gives no sign of life is asked about at its carrier.

Events get lost: carriers give up, a machine was away. Whoever asks gets the event that was missed,
or a call that its carrier does not know any more ends as `lost`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from vca.kit import clock, crash, log
from vca.kit.errors import NotFound
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.telephony.types import CallEvent
from vca.tenancy.session import enter
from vca.tenant.calls import flow, outbound, record, states, watch
from vca.tenant.calls.models import Event, Turn
from vca.tenant.calls.refs import CallRef, carrier_of
from vca.tenant.telephony_accounts import carriers

# What a call may last beyond its profile's limit: its last words, and somebody to transfer it to.
_GRACE = timedelta(minutes=10)
_LONGEST = timedelta(hours=4)
# A carrier that cannot be asked for so long is not coming back for this call.
_GIVEN_UP = timedelta(hours=24)


@dataclass(frozen=True)
class _Open:
    """A call without an end, when it was last heard of, and who can be asked about it."""

    row: Row[Any]
    last_sign: datetime
    carrier: TelephonyAdapter | None

    @property
    def overdue_at(self) -> datetime:
        """When it has lasted longer than any call of its profile may."""
        asked = (self.row.profile or {}).get("max_duration_seconds")
        longest = timedelta(seconds=asked) if asked else _LONGEST
        began: datetime = self.row.answered_at or self.row.started_at
        return began + longest + _GRACE


def check(ref: CallRef, *, now: datetime | None = None, at_once: bool = False) -> str:
    """Look whether a call still lives; ask its carrier if it has been silent; what was found.

    `at_once` asks without waiting for silence. A call that lives is looked at again later. Raises
    nothing that a carrier does: it is asked again later.
    """
    now = now or clock.now()
    with enter(ref.tenant) as session:
        found = _find(session, ref, now)
        if found is None:
            return "ended"
        due = found.last_sign + watch.silence()
        if now < due and not at_once:
            watch.again(session, call_id=ref.call_id, at=due)
            return "live"
        watch.again(session, call_id=ref.call_id, at=now + watch.silence())
    crash.point("calls.check.asking")
    return _ask(ref, found, now)


def _find(session: Session, ref: CallRef, now: datetime) -> _Open | None:
    try:
        row = record.talk(session, ref.call_id)
    except NotFound:
        return None
    if row.status in states.TERMINAL:
        return None
    spoken = select(func.max(Turn.started_at)).where(Turn.call_id == ref.call_id)
    # A carrier's clock may be years ahead: what is still to come is no sign of life.
    past = Event.call_id == ref.call_id, Event.timestamp <= now
    told = select(func.max(Event.timestamp)).where(*past)
    signs = [row.started_at, session.scalar(spoken), session.scalar(told)]
    carrier = carriers.of_call(session, carrier_of(row))
    return _Open(row, max(sign for sign in signs if sign is not None), carrier)


def _ask(ref: CallRef, found: _Open, now: datetime) -> str:
    """Ask the carrier; no transaction is open."""
    row, carrier = found.row, found.carrier
    if carrier is None:
        return _lose(ref, now, "the carrier is not configured")
    if row.provider_call_id is None:
        return _dialled(ref, found, now)
    try:
        seen = carrier.look_up(row.provider_call_id)
    except TelephonyError as error:
        log.get().warning("call.not_looked_up", call_id=str(ref.call_id), code=error.code)
        if now - found.last_sign > _GIVEN_UP:
            return _lose(ref, now, "the carrier does not answer")
        return "unknown"
    if seen is None:
        return _lose(ref, now, "the carrier does not know the call")
    if seen.event is not None:
        flow.finish(ref, event=seen.event)
        return "ended"
    if now > found.overdue_at:
        return _overdue(ref, carrier, row, now)
    return "live"


def _dialled(ref: CallRef, found: _Open, now: datetime) -> str:
    """See to it that a call which we place is dialled, or was; who waits for it has patience."""
    if now - found.last_sign > _GRACE:
        return _lose(ref, now, "it was not dialled")
    try:
        outbound.dial(ref)
    except TelephonyError as error:
        log.get().warning("call.not_dialled", call_id=str(ref.call_id), code=error.code)
    return "live"


def _overdue(ref: CallRef, carrier: TelephonyAdapter, row: Row[Any], now: datetime) -> str:
    try:
        carrier.hang_up(row.provider_call_id)
    except TelephonyError as error:
        log.get().warning("call.not_hung_up", call_id=str(ref.call_id), code=error.code)
        return "live"
    event = CallEvent("ENDED", ref.call_id.hex, now, "overdue", end_reason="max_duration")
    flow.finish(ref, event=event)
    return "ended"


def _lose(ref: CallRef, now: datetime, why: str) -> str:
    log.get().warning("call.lost", call_id=str(ref.call_id), why=why)
    event = CallEvent("FAILED", ref.call_id.hex, now, "lost", end_reason="lost", end_detail=why)
    flow.finish(ref, event=event)
    return "ended"
