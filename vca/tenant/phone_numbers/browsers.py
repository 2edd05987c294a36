"""Let a browser call through a number's carrier."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from vca.kit import deeds
from vca.kit.errors import InvalidInput
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.phone_numbers import at_carrier
from vca.tenant.phone_numbers.carrying import CarrierCannot
from vca.tenant.phone_numbers.checking import NoCarrier
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.phone_numbers.service import NumberInactive
from vca.tenant.telephony_accounts import carriers

VALID = timedelta(hours=1)


def credential(tenant: TenantRef, *, phone_number_id: UUID) -> dict[str, Any]:
    """A credential of an hour from the number's carrier; whoever has it can call until then.

    It is kept nowhere. Raises InvalidInput for a number that is not the tenant's, NumberInactive,
    NoCarrier, CarrierCannot and TelephonyError.
    """
    with enter(tenant) as session:
        number, carrier = _able(session, phone_number_id)
    ttl_s = int(VALID.total_seconds())
    try:
        given = carrier.webrtc_credential(number.did_number, identity=uuid4().hex, ttl_s=ttl_s)
    except TelephonyError as error:
        if error.code == "not-set-up":
            raise CarrierCannot("The number's account lets no browsers call yet.") from None
        raise
    with enter(tenant) as session:
        deeds.note(session, "phone_number", phone_number_id)
    return {
        "token": given.token,
        "identity": given.identity,
        "expires_at": given.expires_at,
        "provider_type": carrier.name,
    }


def _able(session: Session, phone_number_id: UUID) -> tuple[PhoneNumber, TelephonyAdapter]:
    number = session.get(PhoneNumber, phone_number_id)
    if number is None:
        raise InvalidInput.field("phone_number_id", "The tenant has no such number.")
    if not number.is_active:
        raise NumberInactive("An inactive number places no calls; activate it first.")
    carrier = carriers.of_number(session, at_carrier.ref_of(number))
    if carrier is None:
        raise NoCarrier
    if not carrier.capabilities.webrtc:
        raise CarrierCannot("The number's carrier lets no browsers call.")
    return number, carrier
