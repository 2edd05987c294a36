"""Create WebRTC credentials, with which browsers call through a number's carrier."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from vca.audit import context
from vca.kit.errors import InvalidInput
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import provider_assignment
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.phone_numbers.provider_compatibility import CarrierLacksCapability
from vca.tenant.phone_numbers.registration_check import CarrierNotConfigured
from vca.tenant.phone_numbers.service import NumberInactive
from vca.tenant.telephony_accounts import adapter_lookup

CREDENTIAL_TTL = timedelta(hours=1)


def create_credential(
    tenant: TenantRef, *, services: Services, phone_number_id: UUID
) -> dict[str, Any]:
    """Create a credential at the number's carrier that is valid for an hour.

    Anyone who has it can place calls until it expires. It is not stored. Raise InvalidInput for a
    number that is not the tenant's, NumberInactive, CarrierNotConfigured, CarrierLacksCapability,
    TelephonyError, and what a call from that number would raise if no number may be dialled.
    """
    with tenant_session(tenant, database=services.database) as session:
        number, carrier = _require_webrtc_carrier(session, phone_number_id, services=services)
        services.callbacks.check_browser_calls(session, number.did_number, services=services)
    ttl_s = int(CREDENTIAL_TTL.total_seconds())
    try:
        credential = carrier.create_webrtc_credential(
            number.did_number, identity=uuid4().hex, ttl_s=ttl_s
        )
    except TelephonyError as error:
        if error.code == "not-set-up":
            raise CarrierLacksCapability(
                "The number's carrier account is not set up for WebRTC calls."
            ) from None
        raise
    with tenant_session(tenant, database=services.database) as session:
        context.record_change(session, "phone_number", phone_number_id)
    return {
        "token": credential.token,
        "identity": credential.identity,
        "expires_at": credential.expires_at,
        "provider_type": carrier.name,
    }


def _require_webrtc_carrier(
    session: Session, phone_number_id: UUID, *, services: Services
) -> tuple[PhoneNumber, TelephonyAdapter]:
    number = session.get(PhoneNumber, phone_number_id)
    if number is None:
        raise InvalidInput.field("phone_number_id", "There is no such phone number.")
    if not number.is_active:
        raise NumberInactive("The phone number is inactive. Activate it first.")
    carrier = adapter_lookup.adapter_for_number(
        session, provider_assignment.current_ref(number), services=services
    )
    if carrier is None:
        raise CarrierNotConfigured
    if not carrier.supports_webrtc:
        raise CarrierLacksCapability("The number's carrier does not support WebRTC calls.")
    return number, carrier
