"""Claim, update and release a tenant's phone numbers."""

from collections.abc import Collection
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.kit import clock, db
from vca.kit.errors import Conflict, InvalidInput, NotFound
from vca.kit.paging import Listing, Page, PageRequest, RowReader
from vca.registry import caps
from vca.registry.number_registry import service as dids
from vca.services import Services
from vca.telephony import providers
from vca.telephony.types import ProviderAccountRef
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.ai_profiles.models import AiProfile
from vca.tenant.phone_numbers import (
    number_metering,
    porting,
    provider_assignment,
    provider_compatibility,
    registration,
)
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.settings import hours
from vca.tenant.settings import service as settings

_LISTING = Listing(PhoneNumber, (PhoneNumber.created_at, PhoneNumber.id))
DEFAULT_FIELDS: dict[str, Any] = {
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
# The fields that give a number another profile or another carrier.
_FIELDS_FOR_CARRIER = frozenset({"ai_profile_id", "provider_type", "telephony_account_id"})


class NumberInactive(Conflict):
    """The operation needs an active number."""

    code = "number-inactive"


def add(session: Session, *, did_number: str, services: Services, **fields: Any) -> PhoneNumber:
    """Claim a number, store it and schedule its registration, in one transaction over two schemas.

    A number that is not assigned to the tenant needs `number_registry.permit_claim` before.
    Raise LimitReached, number_registry.NumberAlreadyClaimed, number_registry.NumberNotAssigned,
    InvalidInput and CarrierLacksCapability.
    """
    _check_limit(session, services=services)
    number = PhoneNumber(
        id=uuid4(),
        did_number=did_number,
        registration_status="pending",
        registration_round=0,
        **{**DEFAULT_FIELDS, **fields, "hours": hours.merge(None, fields.get("hours"))},
    )
    carrier = provider_assignment.current_ref(number)
    dids.claim(session, number=did_number, phone_number_id=number.id, carrier=carrier)
    session.add(number)
    _validate(
        session,
        number,
        changed_fields={*DEFAULT_FIELDS, *fields, "ai_profile_id"},
        services=services,
    )
    registration.request_registration(session, number, services=services)
    session.flush()
    number_metering.start_metering(session, now=clock.now())
    return number


def get(session: Session, *, phone_number_id: UUID, for_update: bool = False) -> PhoneNumber:
    """Return the number. Raise NotFound."""
    number = session.get(PhoneNumber, phone_number_id, with_for_update=for_update or None)
    if number is None:
        raise NotFound
    return number


def list_page(source: Session | RowReader, *, page: PageRequest, **filters: Any) -> Page:
    """Return a page of the tenant's numbers, oldest first."""
    return _LISTING.page(source, page, filters)


def change(
    session: Session, *, services: Services, phone_number_id: UUID, **fields: Any
) -> PhoneNumber:
    """Update the given fields; a job tells the carrier about a change of carrier or of `is_active`.

    After a move the previous carrier may deliver calls for a while (`porting`), and live calls stay
    there. Raise NotFound, InvalidInput and CarrierLacksCapability.
    """
    if _FIELDS_FOR_CARRIER.intersection(fields):
        settings.get(session, for_update=True)  # no profile changes until this is committed
    number = get(session, phone_number_id=phone_number_id, for_update=True)
    was_active, previous_ref = number.is_active, provider_assignment.current_ref(number)
    if "hours" in fields:
        fields["hours"] = hours.merge(number.hours, fields["hours"])
    for name, value in fields.items():
        setattr(number, name, value)
    _validate(session, number, changed_fields=fields, services=services)
    if (number.is_active, provider_assignment.current_ref(number)) != (was_active, previous_ref):
        _update_carriers(
            session, number, was_active=was_active, previous_ref=previous_ref, services=services
        )
    number.updated_at = session.scalars(select(func.now())).one()
    session.flush()
    return number


def release_previous_carrier(session: Session, *, phone_number_id: UUID) -> None:
    """Stop accepting calls from the previous carrier, if there is one. Raise NotFound."""
    number = get(session, phone_number_id=phone_number_id, for_update=True)
    porting.release_previous(session, number)


def register(session: Session, *, services: Services, phone_number_id: UUID) -> PhoneNumber:
    """Schedule the number's registration again, immediately. Raise NotFound and NumberInactive."""
    number = get(session, phone_number_id=phone_number_id, for_update=True)
    if not number.is_active:
        raise NumberInactive("The phone number is inactive. Activate it first.")
    registration.request_registration(session, number, services=services)
    session.flush()
    return number


def remove(session: Session, *, phone_number_id: UUID) -> None:
    """Delete a number, schedule its release at the carrier, and quarantine its DID for 30 days.

    The number stops receiving calls at once. Raise NotFound.
    """
    number = get(session, phone_number_id=phone_number_id, for_update=True)
    porting.release_previous(session, number)
    registration.request_release(session, number)
    dids.release(session, number=number.did_number)
    session.delete(number)
    session.flush()
    number_metering.stop_metering(session, number, now=clock.now())


def _update_carriers(
    session: Session,
    number: PhoneNumber,
    *,
    services: Services,
    was_active: bool,
    previous_ref: ProviderAccountRef,
) -> None:
    """Schedule the carriers' updates after a move or a change of `is_active`.

    An inactive number is registered nowhere.
    """
    is_moved = not registration.same_account(
        previous_ref, provider_assignment.current_ref(number), services=services
    )
    if not number.is_active:
        porting.release_previous(session, number)
    if was_active and is_moved and number.is_active:
        porting.start_port(session, number, previous_ref=previous_ref, now=clock.now())
    elif was_active and is_moved:
        registration.request_release(session, number, previous_ref)
    registration.request_registration(session, number, services=services)


def _check_limit(session: Session, *, services: Services) -> None:
    """Raise LimitReached if the tenant has its maximum of numbers.

    The lock on the settings row keeps changes of the limit and of profiles out.
    """
    tenant_settings = settings.get(session, for_update=True)
    limit = settings.effective_limits(session, tenant_settings, services=services).numbers
    caps.require_capacity(session, "numbers", select(PhoneNumber.id), maximum=limit, is_locked=True)


def _validate(
    session: Session, number: PhoneNumber, *, services: Services, changed_fields: Collection[str]
) -> None:
    """Check rules that involve several fields. Raise InvalidInput or CarrierLacksCapability."""
    provider_compatibility.check_carrier(session, number, services=services)
    if number.mode == "forward" and not number.forward_to:
        raise InvalidInput.field("forward_to", "Required when `mode` is `forward`.")
    try:
        session.flush()
    except IntegrityError as error:
        if db.constraint_name(error) == "phone_numbers_ai_profile_id_fkey":
            raise InvalidInput.field("ai_profile_id", "There is no such AI profile.") from None
        if db.constraint_name(error) == "phone_numbers_telephony_account_id_fkey":
            raise provider_compatibility.unknown_account_error() from None
        raise
    for name in {"forward_to", "fallback_number"}.intersection(changed_fields):
        _check_target_number(session, number, name, services=services)
    if _FIELDS_FOR_CARRIER.intersection(changed_fields):
        _check_profile(
            session, number, has_new_profile="ai_profile_id" in changed_fields, services=services
        )


def _check_profile(
    session: Session, number: PhoneNumber, *, services: Services, has_new_profile: bool
) -> None:
    """Check that the carrier can do what the profile needs that answers the number.

    The transfer targets of a new profile must be numbers that the number may dial.
    """
    condition = (
        AiProfile.is_default
        if number.ai_profile_id is None
        else AiProfile.id == number.ai_profile_id
    )
    profile = session.scalars(select(AiProfile).where(condition)).one_or_none()
    if profile is None:
        return
    provider_compatibility.check_profile(session, number, profile, services=services)
    if has_new_profile:
        ai_profiles.check_reachable(
            session,
            profile,
            from_numbers=[number.did_number],
            field_name="ai_profile_id",
            services=services,
        )


def _check_target_number(
    session: Session, number: PhoneNumber, field_name: str, *, services: Services
) -> None:
    """Raise InvalidInput if the number that calls are sent to could not be dialled.

    It is rejected now rather than while a caller waits.
    """
    target_number = getattr(number, field_name)
    if target_number is None:
        return
    decision = settings.check_target_number(
        session, target_number, from_numbers=[number.did_number], services=services
    )
    if not decision.allowed:
        raise InvalidInput.field(
            field_name, f"This number cannot be dialled: {decision.reason} ({decision.code})."
        )
