"""Place outbound calls: recorded first, and dialled exactly once even if processes die.

One transaction inserts the call and enqueues its job. Before the request to the carrier,
`dialled_at` is set, in a transaction that asks for the permission to dial again. A job that finds
it set without a carrier id does not dial, but searches for the call by our reference. So a process
may die at any moment, and no phone rings twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit import clock, failpoints
from vca.kit.backoff import BackOff
from vca.kit.errors import Conflict, InvalidInput
from vca.observability import log
from vca.registry.caps import LimitReached
from vca.registry.tenants import tenant_status
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.telephony.dial_permit import DialPermit
from vca.telephony.types import CallEvent, OutboundCall, PlacedCallQuery
from vca.tenancy.session import tenant_session
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.ai_profiles.models import AiProfile
from vca.tenant.calls.core import (
    call_events,
    call_tokens,
    live_usage,
    outbound_legs,
    record,
    watchdog,
)
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.models import Call
from vca.tenant.calls.routing.routing_rules import Route, RuleResult
from vca.tenant.calls.turns import call_flow
from vca.tenant.phone_numbers import provider_assignment, provider_compatibility
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.settings import limits
from vca.tenant.settings import service as settings
from vca.tenant.settings.dialling import DiallingRefused
from vca.tenant.telephony_accounts import adapter_lookup
from vca.tenant.usage import cap
from vca.tenant.usage.cap import SpendCapReached
from vca.tenant.webhooks import events

DIAL_JOB = "calls.dial"
RING_TIMEOUT_S = 30
# Carriers list a call that they placed within this time. A reference that the carrier does not know
# after it was never dialled.
_CARRIER_LISTING_DELAY = timedelta(seconds=45)
_BACK_OFF = BackOff((5,), jitter=0)


class NumberNotUsable(Conflict):
    """The tenant's number cannot place calls. The message says why."""

    code = "number-not-usable"


@dataclass(frozen=True)
class _Refusal:
    """Why a call that was ordered may not be dialled: the end reason and detail of its record."""

    end_reason: str
    detail: str


def place_call(
    session: Session,
    *,
    services: Services,
    to: str,
    from_phone_number_id: UUID,
    ai_profile_id: UUID | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Call:
    """Insert a call and enqueue the job that dials it, in the caller's transaction.

    Raises InvalidInput for a number or profile that is not the tenant's, NumberNotUsable,
    LimitReached if the concurrency limit is reached, SpendCapReached, DiallingRefused by the
    tenant's policy, and, for a profile other than the number's own, CarrierLacksCapability and what
    `ai_profiles.check_reachable` raises.
    """
    tenant_settings = settings.get(session, for_update=True)
    number = _require_number(session, from_phone_number_id)
    profile = _require_profile(
        session, ai_profile_id or number.ai_profile_id, requested_id=ai_profile_id
    )
    adapter = _require_adapter(session, number, services=services)
    if not _answers_number(profile, number):  # they meet here for the first time
        _check_profile(session, number, profile, services=services)
    max_concurrent_calls = limits.effective_limits(
        tenant_status.get_tenant_status(session).plan_limits,
        tenant_settings.limits,
        services=services,
    ).concurrent_calls
    live, now = live_usage.live_usage(session), clock.now()
    if live.calls >= max_concurrent_calls:
        raise LimitReached("concurrent_calls", max_concurrent_calls)
    budget_decision = cap.check_budget(
        session, spend_cap=tenant_settings.spend_cap, live=live, now=now
    )
    if tenant_settings.spend_cap is not None and not budget_decision.allowed:
        raise SpendCapReached(tenant_settings.spend_cap)
    call = _build_call(number, profile, adapter, to, metadata or {})
    call.reserved = budget_decision.reserve
    outbound_legs.authorise_leg(
        session, to, kind="call", call_id=call.id, from_number=number.did_number, services=services
    )
    session.add(call)
    session.flush()
    queue.enqueue(session, DIAL_JOB, lock=f"{DIAL_JOB}:{call.id.hex}", call_id=call.id)
    watchdog.start_watch(session, call_id=call.id, now=now, services=services)
    events.emit(session, *call_events.state_change_events(call.id, call, None, call.state))
    return call


def dial(ref: CallRef, *, services: Services) -> None:
    """Have the carrier place the call, or find it if an earlier job has begun to dial."""
    now = clock.now()
    with tenant_session(ref.tenant, database=services.database) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        if call_context.has_ended or call_context.provider_call_id is not None:
            return
        adapter = adapter_lookup.adapter_for_call(session, call_context.account, services=services)
        dialled_at = session.get_one(Call, ref.call_id).dialled_at
        permission = None
        if dialled_at is None and adapter is not None:
            permission = _ask_permission(session, ref, call_context, now=now, services=services)
            if isinstance(permission, DialPermit):
                record.update_call(session, ref.call_id, dialled_at=now)
    if adapter is None:
        _fail_call(ref, now, "carrier_error", "the carrier is not configured", services=services)
    elif isinstance(permission, _Refusal):
        _fail_call(ref, now, permission.end_reason, permission.detail, services=services)
    elif permission is not None:
        failpoints.kill_if_armed("calls.dial.marked")
        _dial_now(
            ref,
            adapter,
            _build_order(ref, call_context, permission, services=services),
            now,
            services=services,
        )
    elif dialled_at is not None:
        _find_dialled_call(
            ref, adapter, _build_query(ref, call_context, dialled_at), now, services=services
        )


def _ask_permission(
    session: Session, ref: CallRef, call_context: CallContext, *, services: Services, now: datetime
) -> DialPermit | _Refusal:
    """Ask again whether the call may be dialled: minutes may have passed since it was ordered."""
    if not _is_own_number(session, str(call_context.caller_number)):
        return _Refusal("number_inactive", "the number is not active")
    try:
        permit = outbound_legs.permit_leg(
            session,
            call_context.called_number,
            kind="call",
            call_id=ref.call_id,
            from_number=str(call_context.caller_number),
            services=services,
        )
    except DiallingRefused as refusal:
        is_suspended = refusal.reason == "suspended"
        reason = "tenant_suspended" if is_suspended else "declined"
        return _Refusal(reason, refusal.reason or "")
    spend_cap = settings.get(session).spend_cap
    live = live_usage.earlier_usage(session, call_id=ref.call_id)
    if not cap.check_budget(session, spend_cap=spend_cap, live=live, now=now).allowed:
        return _Refusal("spend_cap", "")
    return permit


def _is_own_number(session: Session, number: str) -> bool:
    """Return whether calls from this number of the tenant may still be placed."""
    active = select(PhoneNumber.id).filter_by(did_number=number, is_active=True)
    return session.scalar(active) is not None


def schedule_dial(ref: CallRef, *, services: Services, due_at: datetime) -> None:
    """Schedule the job that dials the call, unless one is pending."""
    with tenant_session(ref.tenant, database=services.database) as session:
        lock = f"{DIAL_JOB}:{ref.call_id.hex}"
        queue.enqueue(session, DIAL_JOB, run_at=due_at, lock=lock, call_id=ref.call_id)


def _dial_now(
    ref: CallRef,
    adapter: TelephonyAdapter,
    order: OutboundCall,
    now: datetime,
    *,
    services: Services,
) -> None:
    try:
        provider_call_id = adapter.place_call(order)
    except TelephonyError as error:
        log.get_logger().warning("call.not_placed", call_id=str(ref.call_id), code=error.code)
        if error.ambiguous:
            schedule_dial(ref, due_at=now + _BACK_OFF.delay(1), services=services)
        elif error.permanent:
            reason = "invalid_number" if error.code == "invalid-number" else "carrier_error"
            _fail_call(ref, now, reason, error.code or str(error), services=services)
        else:
            _clear_dialled_at(ref, services=services)
            raise
        return
    failpoints.kill_if_armed("calls.dial.placed")
    _record_dialled(ref, provider_call_id, now, services=services)


def _find_dialled_call(
    ref: CallRef,
    adapter: TelephonyAdapter,
    query: PlacedCallQuery,
    now: datetime,
    *,
    services: Services,
) -> None:
    """Search for the call at the carrier: a process began to dial and did not store the result."""
    dialled_at = query.begun_at or now
    try:
        provider_call_id = adapter.find_call(query)
    except TelephonyError as error:
        log.get_logger().warning("call.not_found", call_id=str(ref.call_id), code=error.code)
        provider_call_id = None
        dialled_at = now  # the search failed, so the time limit starts again
    if provider_call_id is not None and not _belongs_to_other_call(
        ref, adapter, provider_call_id, services=services
    ):
        _record_dialled(ref, provider_call_id, now, services=services)
    elif now - dialled_at < _CARRIER_LISTING_DELAY:
        schedule_dial(ref, due_at=now + _BACK_OFF.delay(1), services=services)
    else:
        _fail_call(ref, now, "carrier_error", "the carrier has no such call", services=services)


def _belongs_to_other_call(
    ref: CallRef, adapter: TelephonyAdapter, provider_call_id: str, *, services: Services
) -> bool:
    """Return whether this carrier id belongs to another call of the tenant."""
    with tenant_session(ref.tenant, database=services.database) as session:
        known_call = record.find_call(
            session, provider_type=adapter.name, provider_call_id=provider_call_id
        )
    return known_call is not None and known_call[0] != ref.call_id


def _record_dialled(
    ref: CallRef, provider_call_id: str, now: datetime, *, services: Services
) -> None:
    with tenant_session(ref.tenant, database=services.database) as session:
        record.lock_call_context(session, ref.call_id)
        event = CallEvent("INITIATED", provider_call_id, now, "own-INITIATED")
        record.apply_event(session, ref.call_id, event, services=services)


def _clear_dialled_at(ref: CallRef, *, services: Services) -> None:
    """Let the job dial again, because the carrier certainly has not dialled."""
    with tenant_session(ref.tenant, database=services.database) as session:
        record.lock_call_context(session, ref.call_id)
        record.update_call(session, ref.call_id, dialled_at=None)


def _fail_call(
    ref: CallRef, now: datetime, end_reason: str, detail: str, *, services: Services
) -> None:
    end_detail = detail[:64] or None
    event = CallEvent(
        "FAILED", ref.call_id.hex, now, "dial", end_reason=end_reason, end_detail=end_detail
    )
    call_flow.apply_call_event(ref, event=event, services=services)


def _build_query(ref: CallRef, call_context: CallContext, dialled_at: datetime) -> PlacedCallQuery:
    return PlacedCallQuery(
        reference=ref.call_id.hex,
        number=call_context.called_number,
        from_number=str(call_context.caller_number),
        begun_at=dialled_at,
    )


def _build_order(
    ref: CallRef, call_context: CallContext, permit: DialPermit, *, services: Services
) -> OutboundCall:
    return OutboundCall(
        reference=ref.call_id.hex,
        permit=permit,
        from_number=str(call_context.caller_number),
        callback_url=services.callback_url(call_context.account.provider_type),
        state=call_tokens.sign_state(
            CallState(ref, 0, account=call_context.account), services=services
        ),
        timeout_s=RING_TIMEOUT_S,
    )


def _require_number(session: Session, phone_number_id: UUID) -> PhoneNumber:
    number = session.get(PhoneNumber, phone_number_id)
    if number is None:
        raise InvalidInput.field(
            "from_phone_number_id", "The tenant has no phone number with this id."
        )
    if not number.is_active:
        raise NumberNotUsable("The number is not active.")
    return number


def _require_profile(
    session: Session, profile_id: UUID | None, *, requested_id: UUID | None
) -> AiProfile:
    condition = AiProfile.is_default if profile_id is None else AiProfile.id == profile_id
    profile = session.scalars(select(AiProfile).where(condition)).one_or_none()
    if profile is None and requested_id is not None:
        raise InvalidInput.field("ai_profile_id", "The tenant has no AI profile with this id.")
    if profile is None:
        raise NumberNotUsable("The tenant has no AI profile for the call.")
    return profile


def _answers_number(profile: AiProfile, number: PhoneNumber) -> bool:
    """Return whether calls to the number reach the profile: it was checked when that began."""
    if number.ai_profile_id is None:
        return profile.is_default
    return profile.id == number.ai_profile_id


def _check_profile(
    session: Session, number: PhoneNumber, profile: AiProfile, *, services: Services
) -> None:
    """Check the number's carrier and the profile's transfer targets, which the number dials."""
    provider_compatibility.check_profile(session, number, profile, services=services)
    ai_profiles.check_reachable(
        session,
        profile,
        from_numbers=[number.did_number],
        field_name="ai_profile_id",
        services=services,
    )


def _require_adapter(
    session: Session, number: PhoneNumber, *, services: Services
) -> TelephonyAdapter:
    adapter = adapter_lookup.adapter_for_number(
        session, provider_assignment.current_ref(number), services=services
    )
    if adapter is None:
        raise NumberNotUsable("No carrier is configured for this number.")
    if not adapter.capabilities.outbound:
        raise NumberNotUsable("The number's carrier cannot place calls.")
    if not services.can_answer(simulated=False):
        raise NumberNotUsable("No language model is configured for real callers.")
    return adapter


def _build_call(
    number: PhoneNumber,
    profile: AiProfile,
    adapter: TelephonyAdapter,
    to: str,
    metadata: Mapping[str, Any],
) -> Call:
    rule_result = RuleResult("profile", "decided", "the call was requested with this profile")
    route = Route(
        "agent", (rule_result,), ai_profile_id=profile.id, ai_profile_version=profile.version
    )
    return Call(
        id=uuid4(),
        phone_number_id=number.id,
        ai_profile_id=profile.id,
        ai_profile_version=profile.version,
        direction="outbound",
        status="queued",
        caller_number=number.did_number,
        caller_id="shown",
        called_number=to,
        provider_type=adapter.name,
        provider_call_id=None,
        telephony_account_id=number.telephony_account_id,
        simulated=False,
        started_at=clock.now(),
        route=route.as_dict(),
        call_metadata=dict(metadata),
    )
