"""Ask carriers about live calls without activity, so that every call ends in the record.

Events get lost: carriers give up, or our server was away. A check applies the event that was
missed. A call that its carrier does not know ends as `lost`, and a simulation that nobody continues
as `abandoned`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.kit import clock, failpoints
from vca.kit.errors import NotFound
from vca.observability import log
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.telephony.types import CallEvent
from vca.tenancy.session import tenant_session
from vca.tenant.calls.control import outbound_calls
from vca.tenant.calls.core import record, watchdog
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.models import Event, Turn
from vca.tenant.calls.turns import call_flow
from vca.tenant.telephony_accounts import adapter_lookup

# How much longer than its profile's limit a call may last: the final sentence or a transfer.
_GRACE = timedelta(minutes=10)
_DEFAULT_MAX_DURATION = timedelta(hours=4)
# If the carrier has not answered for this long, the call ends as lost.
_CARRIER_TIMEOUT = timedelta(hours=24)


@dataclass(frozen=True)
class _LiveCall:
    """A live call, the time of its last activity, and the adapter of its account."""

    call_context: CallContext
    last_activity_at: datetime
    adapter: TelephonyAdapter | None

    @property
    def overdue_at(self) -> datetime:
        """Return when the call will have lasted longer than its profile allows."""
        profile = self.call_context.profile
        max_duration_s = profile.max_duration_s if profile is not None else None
        max_duration = (
            timedelta(seconds=max_duration_s) if max_duration_s else _DEFAULT_MAX_DURATION
        )
        started_at = self.call_context.answered_at or self.call_context.started_at
        return started_at + max_duration + _GRACE


def check_call(
    ref: CallRef, *, services: Services, now: datetime | None = None, immediately: bool = False
) -> str:
    """Check whether a call is live; return `live`, `ended` or `unknown`.

    Asks the carrier after a silence, or at once with `immediately`. A simulated call ends after a
    silence. Schedules the next check of a live call. Raises no error of the carrier, because the
    next check asks again.
    """
    now = now or clock.now()
    with tenant_session(ref.tenant, database=services.database) as session:
        live_call = _load_live_call(session, ref, now, services=services)
        if live_call is None:
            return "ended"
        simulated = live_call.call_context.simulated
        silence_limit = watchdog.silence_limit(simulated=simulated, services=services)
        due_at = live_call.last_activity_at + silence_limit
        if now < due_at and (simulated or not immediately):
            watchdog.schedule_check(session, call_id=ref.call_id, due_at=due_at)
            return "live"
        if simulated:  # the fake carrier of this process knows nothing about it
            event = CallEvent("ENDED", ref.call_id.hex, now, "abandoned", end_reason="abandoned")
            record.apply_event(session, ref.call_id, event, services=services)
            log.get_logger().info("call.ended", call_id=str(ref.call_id), end_reason="abandoned")
            return "ended"
        watchdog.schedule_check(session, call_id=ref.call_id, due_at=now + silence_limit)
    failpoints.kill_if_armed("calls.check.asking")
    return _query_carrier(ref, live_call, now, services=services)


def _load_live_call(
    session: Session, ref: CallRef, now: datetime, *, services: Services
) -> _LiveCall | None:
    try:
        call_context = record.lock_call_context(session, ref.call_id)
    except NotFound:
        return None
    if call_context.has_ended:
        return None
    last_turn_at = select(func.max(Turn.started_at)).where(Turn.call_id == ref.call_id)
    # A carrier's clock may be ahead, so events in the future are no sign of activity.
    past_events = Event.call_id == ref.call_id, Event.timestamp <= now
    last_event_at = select(func.max(Event.timestamp)).where(*past_events)
    activity_times = [
        call_context.started_at,
        session.scalar(last_turn_at),
        session.scalar(last_event_at),
    ]
    adapter = adapter_lookup.adapter_for_call(session, call_context.account, services=services)
    return _LiveCall(
        call_context,
        max(activity_at for activity_at in activity_times if activity_at is not None),
        adapter,
    )


def _query_carrier(ref: CallRef, live_call: _LiveCall, now: datetime, *, services: Services) -> str:
    """Ask the carrier. No transaction is open."""
    provider_call_id, adapter = live_call.call_context.provider_call_id, live_call.adapter
    if adapter is None:
        return _end_as_lost(ref, now, "the carrier is not configured", services=services)
    if provider_call_id is None:
        return _ensure_dialled(ref, live_call, now, services=services)
    try:
        call_status = adapter.find_call_status(provider_call_id)
    except TelephonyError as error:
        log.get_logger().warning("call.not_looked_up", call_id=str(ref.call_id), code=error.code)
        if now - live_call.last_activity_at > _CARRIER_TIMEOUT:
            return _end_as_lost(ref, now, "the carrier does not answer", services=services)
        return "unknown"
    if call_status is None:
        return _end_as_lost(ref, now, "the carrier does not know the call", services=services)
    if call_status.event is not None:
        call_flow.apply_call_event(ref, event=call_status.event, services=services)
        return "ended"
    if now > live_call.overdue_at:
        return _end_overdue(ref, adapter, provider_call_id, now, services=services)
    return "live"


def _ensure_dialled(
    ref: CallRef, live_call: _LiveCall, now: datetime, *, services: Services
) -> str:
    """Dial an outbound call that has no carrier id yet, or find it.

    It is lost after the grace period.
    """
    if now - live_call.last_activity_at > _GRACE:
        return _end_as_lost(ref, now, "it was not dialled", services=services)
    try:
        outbound_calls.dial(ref, services=services)
    except TelephonyError as error:
        log.get_logger().warning("call.not_dialled", call_id=str(ref.call_id), code=error.code)
    return "live"


def _end_overdue(
    ref: CallRef,
    adapter: TelephonyAdapter,
    provider_call_id: str,
    now: datetime,
    *,
    services: Services,
) -> str:
    try:
        adapter.hang_up(provider_call_id)
    except TelephonyError as error:
        log.get_logger().warning("call.not_hung_up", call_id=str(ref.call_id), code=error.code)
        return "live"
    event = CallEvent("ENDED", ref.call_id.hex, now, "overdue", end_reason="max_duration")
    call_flow.apply_call_event(ref, event=event, services=services)
    return "ended"


def _end_as_lost(ref: CallRef, now: datetime, why: str, *, services: Services) -> str:
    log.get_logger().warning("call.lost", call_id=str(ref.call_id), why=why)
    event = CallEvent("FAILED", ref.call_id.hex, now, "lost", end_reason="lost", end_detail=why)
    call_flow.apply_call_event(ref, event=event, services=services)
    return "ended"
