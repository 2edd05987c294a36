"""Whether a number may be with a carrier, whether that one can do what is wanted, and its proof."""

from uuid import uuid4

from sqlalchemy.orm import Session

from vca.kit.errors import Conflict, InvalidInput, NotFound
from vca.telephony import providers
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.ai_profiles.models import AiProfile
from vca.tenant.phone_numbers import provider_assignment
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.telephony_accounts import adapter_lookup
from vca.tenant.telephony_accounts import service as accounts


class CarrierLacksCapability(Conflict):
    """The number's carrier cannot do what is asked of it."""

    code = "carrier-cannot"


def check_carrier(session: Session, number: PhoneNumber) -> None:
    """Refuse a carrier that is not there, and an account that is not the tenant's with it.

    Raises InvalidInput.
    """
    ref = provider_assignment.current_ref(number)
    if ref.account_id is not None:
        _check_account(session, ref)
    elif not providers.current_carriers().is_configured(ref.provider_type):
        raise InvalidInput.field("provider_type", "No such carrier is configured.")


def check_profile(session: Session, number: PhoneNumber, profile: AiProfile) -> None:
    """Refuse a profile that needs what the number's carrier cannot do. Raises CarrierCannot."""
    carrier = adapter_lookup.adapter_for_number(session, provider_assignment.current_ref(number))
    if carrier is None:
        return
    if profile.recording and not carrier.capabilities.recording:
        raise CarrierLacksCapability("The profile records calls; the number's carrier cannot.")
    if profile.transfer_targets and not carrier.capabilities.transfer:
        raise CarrierLacksCapability("The profile transfers calls; the number's carrier cannot.")


def is_on_own_account(tenant: TenantRef, *, did_number: str, ref: ProviderAccountRef) -> bool:
    """Whether the tenant's own account has the number: then nobody needs to assign it.

    The carrier is asked while no transaction is open. Raises InvalidInput for an account that is
    not the tenant's, and TelephonyError.
    """
    if ref.account_id is None:
        return False
    with tenant_session(tenant) as session:
        _check_account(session, ref)
        carrier = adapter_lookup.adapter_for_number(session, ref)
    # Only whether it is there counts: what it would be registered as is not known yet.
    return carrier is not None and bool(carrier.check_number(tenant.id, uuid4(), did_number))


def unknown_account_error() -> InvalidInput:
    """The tenant has no account of that id."""
    return InvalidInput.field("telephony_account_id", "There is no such account.")


def _check_account(session: Session, ref: ProviderAccountRef) -> None:
    assert ref.account_id is not None
    try:
        with session.no_autoflush:  # a number that names it must not be written yet
            row = accounts.get(session, telephony_account_id=ref.account_id)
    except NotFound:
        raise unknown_account_error() from None
    if row.provider_type != ref.provider_type:
        detail = "The account is with another carrier than the number's provider_type."
        raise InvalidInput.field("telephony_account_id", detail)
