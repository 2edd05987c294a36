"""Add, change and remove a tenant's numbers."""

from collections.abc import Collection
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.kit import clock, db
from vca.kit.errors import Conflict, InvalidInput, NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.dids import service as dids
from vca.registry.dids.service import Terms
from vca.telephony import providers
from vca.telephony.types import CarrierRef
from vca.tenant.ai_profiles.models import AiProfile
from vca.tenant.phone_numbers import at_carrier, carrying, holding, moving, registration
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.settings import hours
from vca.tenant.settings import service as settings
from vca.tenant.settings.limits import LimitReached

_LISTING = Listing(PhoneNumber, (PhoneNumber.created_at, PhoneNumber.id))
BLANK: dict[str, Any] = {
    "provider_type": providers.GENERIC,
    "telephony_account_id": None,
    "label": None,
    "is_active": True,
    "mode": "agent",
    "forward_to": None,
    "ai_profile_id": None,
    "hours": None,
    "fallback_number": None,
}


class NumberInactive(Conflict):
    """An inactive number is not registered anywhere."""

    code = "number-inactive"


def add(session: Session, *, terms: Terms, did_number: str, **fields: Any) -> PhoneNumber:
    """Claim a number, keep it, and order its registration: one transaction over two schemas.

    Raises LimitReached, dids.NumberAlreadyClaimed, dids.NumberNotAssigned, InvalidInput and
    CarrierCannot.
    """
    _check_limit(session)
    number = PhoneNumber(
        id=uuid4(),
        did_number=did_number,
        registration_status="pending",
        registration_round=0,
        **{**BLANK, **fields, "hours": hours.merged(None, fields.get("hours"))},
    )
    carrier = at_carrier.ref_of(number)
    dids.claim(session, number=did_number, phone_number_id=number.id, carrier=carrier, terms=terms)
    session.add(number)
    _check(session, number, given=fields)
    registration.ask(session, number)
    session.flush()
    holding.begin(session, now=clock.now())
    return number


def get(session: Session, *, phone_number_id: UUID, for_update: bool = False) -> PhoneNumber:
    """The number; raises NotFound."""
    number = session.get(PhoneNumber, phone_number_id, with_for_update=for_update or None)
    if number is None:
        raise NotFound
    return number


def list_page(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """The tenant's numbers, oldest first."""
    return _LISTING.page(session, page, filters)


def change(session: Session, *, phone_number_id: UUID, **fields: Any) -> PhoneNumber:
    """Change what is given; a change of carrier or of `is_active` reaches the carrier by a job.

    Where it was before it moved it may still ring for a while (`moving`), live calls stay there.
    Raises NotFound, InvalidInput and CarrierCannot.
    """
    number = get(session, phone_number_id=phone_number_id, for_update=True)
    was_active, left = number.is_active, at_carrier.ref_of(number)
    if "hours" in fields:
        fields["hours"] = hours.merged(number.hours, fields["hours"])
    for name, value in fields.items():
        setattr(number, name, value)
    _check(session, number, given=fields)
    if (number.is_active, at_carrier.ref_of(number)) != (was_active, left):
        _tell_carriers(session, number, was_active=was_active, left=left)
    number.updated_at = session.scalars(select(func.now())).one()
    session.flush()
    return number


def release_previous_carrier(session: Session, *, phone_number_id: UUID) -> None:
    """Take no rings from where the number was before it moved; if there is no such, nothing.

    Raises NotFound.
    """
    number = get(session, phone_number_id=phone_number_id, for_update=True)
    moving.end(session, number)


def register(session: Session, *, phone_number_id: UUID) -> PhoneNumber:
    """Order the number's registration again, now. Raises NotFound and NumberInactive."""
    number = get(session, phone_number_id=phone_number_id, for_update=True)
    if not number.is_active:
        raise NumberInactive("An inactive number is not registered; activate it first.")
    registration.ask(session, number)
    session.flush()
    return number


def remove(session: Session, *, phone_number_id: UUID) -> None:
    """Delete a number: it stops routing now, its carrier is told, its DID rests 30 days.

    Raises NotFound.
    """
    number = get(session, phone_number_id=phone_number_id, for_update=True)
    moving.end(session, number)
    registration.withdraw(session, number)
    dids.release(session, number=number.did_number)
    session.delete(number)
    session.flush()
    holding.end(session, number, now=clock.now())


def _tell_carriers(
    session: Session, number: PhoneNumber, *, was_active: bool, left: CarrierRef
) -> None:
    """The number has moved, or is switched on or off: an inactive one is registered nowhere."""
    moved = not registration.same(left, at_carrier.ref_of(number))
    if not number.is_active:
        moving.end(session, number)
    if was_active and moved and number.is_active:
        moving.begin(session, number, left=left, now=clock.now())
    elif was_active and moved:
        registration.withdraw(session, number, left)
    registration.ask(session, number)


def _check_limit(session: Session) -> None:
    """Raise LimitReached if the tenant may have no further number; additions take turns."""
    own = settings.get(session, for_update=True)
    limit = settings.effective_limits(session, own).numbers
    if limit is None:
        return
    if session.scalars(select(func.count()).select_from(PhoneNumber)).one() >= limit:
        raise LimitReached("numbers", limit)


def _check(session: Session, number: PhoneNumber, *, given: Collection[str]) -> None:
    """What no single field shows; raises InvalidInput or CarrierCannot."""
    carrying.check(session, number)
    if number.mode == "forward" and not number.forward_to:
        raise InvalidInput.field("forward_to", "A forwarding number needs one.")
    try:
        session.flush()
    except IntegrityError as error:
        if db.constraint(error) == "phone_numbers_ai_profile_id_fkey":
            raise InvalidInput.field("ai_profile_id", "There is no such profile.") from None
        if db.constraint(error) == "phone_numbers_telephony_account_id_fkey":
            raise carrying.no_such_account() from None
        raise
    for name in {"forward_to", "fallback_number"}.intersection(given):
        _check_led_to(session, number, name)
    if number.ai_profile_id is not None:
        profile = session.get_one(AiProfile, number.ai_profile_id)
        carrying.check_profile(session, number, profile)


def _check_led_to(session: Session, number: PhoneNumber, name: str) -> None:
    """Where a number leads must be dialled one day: refused now, not while a caller waits."""
    leads_to = getattr(number, name)
    if leads_to is None:
        return
    verdict = settings.may_keep(session, leads_to, from_number=number.did_number)
    if not verdict.allowed:
        raise InvalidInput.field(name, f"Cannot be dialled: {verdict.why} ({verdict.code}).")
