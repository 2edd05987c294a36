"""Ask for the permission to dial outbound legs, when they are ordered and when they are dialled.

A leg is counted when it is ordered. The second check, at the last moment before the carrier,
compares the limits with the legs that were ordered before this one.
"""

from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.kit import clock
from vca.kit.phone import mask
from vca.observability import log, metrics
from vca.registry.number_registry import service as number_registry
from vca.registry.tenants import tenant_status
from vca.services import Services
from vca.telephony.dial_permit import DialPermit
from vca.tenant.calls.core.models import OutboundLeg
from vca.tenant.settings import dialling
from vca.tenant.settings import service as settings
from vca.tenant.settings.dialling import (
    DialDecision,
    DiallingRefused,
    DiallingSettings,
    DialPolicy,
    RecentDials,
)
from vca.tenant.usage import cap
from vca.tenant.usage.cap import SpendCapReached

LegKind = Literal["call", "transfer", "forward"]


def authorise_leg(
    session: Session,
    number: str,
    *,
    services: Services,
    kind: LegKind,
    call_id: UUID | None,
    from_number: str,
    simulated: bool = False,
) -> None:
    """Check and record a leg that is ordered from or through a tenant's number.

    Locks the settings row until the caller's transaction ends, so that legs which are ordered at
    the same time are counted one after the other. A leg counts whether or not anybody answers, and
    whether or not it is dialled in the end. A leg of a simulated call is checked but not recorded,
    because nothing is dialled; it may have no number that it would be dialled from. Raises
    DiallingRefused and then records nothing.
    """
    tenant_settings = settings.get(session, for_update=not simulated)
    try:
        _permit_number(
            session,
            number,
            from_number=from_number,
            tenant_settings=tenant_settings,
            is_frozen=tenant_settings.dialling_frozen_at is not None,
            recent=count_recent_legs(session),
            services=services,
        )
    except DiallingRefused as refusal:
        if not simulated:
            _report_refusal(refusal, number, kind, call_id)
        raise
    if not simulated:
        _record_leg(session, number, kind, call_id)


def permit_leg(
    session: Session,
    number: str,
    *,
    services: Services,
    kind: LegKind,
    call_id: UUID,
    from_number: str,
    simulated: bool = False,
) -> DialPermit:
    """Return the permission to dial an ordered leg now. Commit before the request to the carrier.

    The leg is not counted again; one that was never counted is recorded. Raises DiallingRefused.
    """
    ordered_at = None if simulated else _last_ordered_at(session, number, call_id)
    is_uncounted = ordered_at is None and not simulated
    tenant_settings = settings.get(session, for_update=is_uncounted)
    try:
        permit = _permit_number(
            session,
            number,
            from_number=from_number,
            tenant_settings=tenant_settings,
            is_frozen=tenant_settings.dialling_frozen_at is not None,
            recent=count_recent_legs(session, before=ordered_at),
            services=services,
        )
    except DiallingRefused as refusal:
        if not simulated:
            _report_refusal(refusal, number, kind, call_id)
        raise
    if is_uncounted:
        _record_leg(session, number, kind, call_id)
    return permit


def permit_fallback(
    session: Session,
    number: str,
    *,
    services: Services,
    from_number: str,
    tenant_settings: DiallingSettings,
    is_frozen: bool,
    records_leg: bool,
) -> DialPermit:
    """Return the permission to forward callers to a fallback number without a call's record.

    `records_leg` records a leg, for a call that arrives now. Otherwise the carrier may dial the
    number as often as it gets calls, while VCA is away. Raises DiallingRefused.
    """
    recent = count_recent_legs(session) if records_leg else RecentDials()
    permit = _permit_number(
        session,
        number,
        from_number=from_number,
        tenant_settings=tenant_settings,
        is_frozen=is_frozen,
        recent=recent,
        services=services,
    )
    if records_leg:
        _record_leg(session, number, "forward", None)
    return permit


def check_browser_calls(session: Session, from_number: str, *, services: Services) -> None:
    """Check that the tenant may dial from this number at all, as a browser would.

    Raises DiallingRefused, and SpendCapReached as a call does.
    """
    tenant_settings = settings.get(session)
    decision = dialling.check_any_dial(
        policy=_policy(session, tenant_settings, from_number, services=services),
        recent=count_recent_legs(session),
        stopped=_check_stopped(session, tenant_settings.dialling_frozen_at is not None),
    )
    if not decision.allowed:
        metrics.DIALLING_REFUSED.inc(code=decision.code)
        log.get_logger().warning("dialling.refused", code=decision.code, kind="browser")
        raise DiallingRefused(decision)
    spend_cap, live = tenant_settings.spend_cap, cap.live_calls(session, services=services)
    budget_decision = cap.check_budget(session, spend_cap=spend_cap, live=live, now=clock.now())
    if spend_cap is not None and not budget_decision.allowed:
        raise SpendCapReached(spend_cap)


def _permit_number(
    session: Session,
    number: str,
    *,
    services: Services,
    from_number: str,
    tenant_settings: DiallingSettings,
    is_frozen: bool,
    recent: RecentDials,
) -> DialPermit:
    return dialling.permit(
        number,
        policy=_policy(session, tenant_settings, from_number, services=services),
        recent=recent,
        own_number=number_registry.owned_by_tenant(session, number=number),
        stopped=_check_stopped(session, is_frozen),
    )


def _policy(
    session: Session, tenant_settings: DiallingSettings, from_number: str, *, services: Services
) -> DialPolicy:
    from_numbers = [from_number] if from_number else []
    [policy] = settings.dial_policies(
        session, tenant_settings, from_numbers=from_numbers, services=services
    )
    return policy


def _check_stopped(session: Session, is_frozen: bool) -> DialDecision | None:
    status = tenant_status.get_tenant_status(session)
    return dialling.check_stopped(
        frozen=is_frozen or status.dialling_frozen, tenant_status=status.tenant_status
    )


def _report_refusal(
    refusal: DiallingRefused, number: str, kind: LegKind, call_id: UUID | None
) -> None:
    metrics.DIALLING_REFUSED.inc(code=refusal.reason)
    log.get_logger().warning(
        "dialling.refused",
        number=mask(number),
        code=refusal.reason,
        kind=kind,
        call_id=str(call_id) if call_id else None,
    )


def _record_leg(session: Session, number: str, kind: LegKind, call_id: UUID | None) -> None:
    # clock_timestamp(), because the transaction may have begun long before it got the lock.
    now = func.clock_timestamp()
    session.add(OutboundLeg(id=uuid4(), call_id=call_id, kind=kind, number=number, created_at=now))
    session.flush()


def was_dialled(session: Session, number: str, *, call_id: UUID) -> bool:
    """Return whether the call dialled this number; a repeated request is not counted again."""
    return _last_ordered_at(session, number, call_id) is not None


def _last_ordered_at(session: Session, number: str, call_id: UUID) -> datetime | None:
    """Return when the call last ordered a leg to this number."""
    times = select(func.max(OutboundLeg.created_at)).filter_by(call_id=call_id, number=number)
    return session.scalar(times)


def last_forward_number(session: Session, *, call_id: UUID) -> str | None:
    """Return the number that the call was last forwarded to, or None."""
    forward_numbers = select(OutboundLeg.number).filter_by(call_id=call_id, kind="forward")
    return session.scalar(forward_numbers.order_by(OutboundLeg.created_at.desc()).limit(1))


def count_recent_legs(session: Session, *, before: datetime | None = None) -> RecentDials:
    """Return how many legs the tenant ordered in the last minute and the last day.

    With `before`, only those that were ordered before that time.
    """
    now = func.clock_timestamp()
    last_minute = OutboundLeg.created_at > now - timedelta(minutes=1)
    counts = select(func.count().filter(last_minute), func.count())
    last_day = counts.where(OutboundLeg.created_at > now - timedelta(days=1))
    if before is not None:
        last_day = last_day.where(OutboundLeg.created_at < before)
    return RecentDials(*session.execute(last_day).one())
