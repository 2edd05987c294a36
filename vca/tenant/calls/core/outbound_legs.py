"""Authorise and count outbound legs before a carrier dials them."""

from datetime import timedelta
from typing import Literal
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.kit.errors import Conflict
from vca.kit.phone import mask
from vca.observability import log, metrics
from vca.registry.number_registry import service as number_registry
from vca.registry.tenants import tenant_status
from vca.tenant.calls.core.models import OutboundLeg
from vca.tenant.settings import dialling
from vca.tenant.settings import service as settings
from vca.tenant.settings.dialling import DenialCode, DialDecision, RecentDials
from vca.tenant.settings.service import HomeCountryNeeded

LegKind = Literal["call", "transfer", "forward"]


class DiallingRefused(Conflict):
    """The toll fraud policy denies the number. `reason` is the code of the rule."""

    code = "dialling-refused"

    def __init__(self, verdict: DialDecision) -> None:
        super().__init__(
            f"This number may not be dialled: {verdict.reason} ({verdict.code}).",
            code=HomeCountryNeeded.code if verdict.code == "home_country_needed" else None,
        )
        self.reason: DenialCode | None = verdict.code


def authorise_leg(
    session: Session,
    number: str,
    *,
    kind: LegKind,
    call_id: UUID | None,
    from_number: str,
    simulated: bool = False,
) -> None:
    """Check and record a leg that is about to be dialled from or through a tenant's number.

    Locks the settings row until the caller's transaction ends, so that legs which are dialled at
    the same time are counted one after the other. Commit before the request to the carrier. A leg
    counts whether or not anybody answers. A leg of a simulated call is checked but not recorded,
    because nothing is dialled; it may have no number that it would be dialled from. Raises
    DiallingRefused and then records nothing.
    """
    tenant_settings = settings.get(session, for_update=not simulated)
    frozen = (
        tenant_settings.dialling_frozen_at is not None
        or tenant_status.get_tenant_status(session).dialling_frozen
    )
    from_numbers = [from_number] if from_number else []
    [policy] = settings.dial_policies(session, tenant_settings, from_numbers=from_numbers)
    verdict = dialling.check_dial(
        number,
        policy=policy,
        recent=count_recent_legs(session),
        own_number=number_registry.owned_by_tenant(session, number=number),
        frozen=frozen,
    )
    if simulated:
        if not verdict.allowed:
            raise DiallingRefused(verdict)
        return
    if not verdict.allowed:
        metrics.DIALLING_REFUSED.inc(code=verdict.code)
        log.get_logger().warning(
            "dialling.refused",
            number=mask(number),
            code=verdict.code,
            kind=kind,
            call_id=str(call_id) if call_id else None,
        )
        raise DiallingRefused(verdict)
    # clock_timestamp(), because the transaction may have begun long before it got the lock.
    now = func.clock_timestamp()
    session.add(OutboundLeg(id=uuid4(), call_id=call_id, kind=kind, number=number, created_at=now))
    session.flush()


def was_dialled(session: Session, number: str, *, call_id: UUID) -> bool:
    """Return whether the call dialled this number; a repeated request is not counted again."""
    conditions = OutboundLeg.call_id == call_id, OutboundLeg.number == number
    return session.scalar(select(OutboundLeg.id).where(*conditions).limit(1)) is not None


def last_forward_number(session: Session, *, call_id: UUID) -> str | None:
    """Return the number that the call was last forwarded to, or None."""
    forward_numbers = select(OutboundLeg.number).filter_by(call_id=call_id, kind="forward")
    return session.scalar(forward_numbers.order_by(OutboundLeg.created_at.desc()).limit(1))


def count_recent_legs(session: Session) -> RecentDials:
    """Return how many legs were dialled for the tenant in the last minute and the last day."""
    now = func.clock_timestamp()
    last_minute = OutboundLeg.created_at > now - timedelta(minutes=1)
    counts = select(func.count().filter(last_minute), func.count())
    last_day = counts.where(OutboundLeg.created_at > now - timedelta(days=1))
    return RecentDials(*session.execute(last_day).one())
