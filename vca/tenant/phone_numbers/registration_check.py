"""Compare a number's settings at its carrier with what registration would set. Read-only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from vca.audit import context
from vca.kit import clock
from vca.kit.errors import Conflict, NotFound
from vca.services import Services
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.types import NumberSetting
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import provider_assignment
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.telephony_accounts import adapter_lookup


class CarrierNotConfigured(Conflict):
    """The number's carrier is not configured, or its account cannot be decrypted."""

    code = "carrier-not-configured"

    def __init__(self) -> None:
        super().__init__("The number's carrier is not configured.")


@dataclass(frozen=True)
class CheckResult:
    """The settings at the carrier; without fields, the account does not have the number."""

    provider_type: str
    checked_at: datetime
    fields: Sequence[NumberSetting]

    @property
    def agrees(self) -> bool:
        """Whether the carrier has the number and every setting has its expected value."""
        return bool(self.fields) and all(field.agrees for field in self.fields)

    @property
    def fields_as_dicts(self) -> list[dict[str, Any]]:
        """The settings and whether each is as expected, as the API returns them."""
        return [
            {
                "name": field.name,
                "wanted": field.expected,
                "found": field.actual,
                "agrees": field.agrees,
            }
            for field in self.fields
        ]

    @property
    def mismatch_reason(self) -> str:
        """A human-readable description of the difference."""
        names = ", ".join(field.name for field in self.fields if not field.agrees)
        return (
            f"the carrier has other settings: {names}"
            if names
            else "the carrier has no such number"
        )


@dataclass(frozen=True)
class CheckTarget:
    """A number and the carrier that is asked about it."""

    phone_number_id: UUID
    did_number: str
    registration_round: int
    carrier: TelephonyAdapter


def check_number(tenant: TenantRef, *, services: Services, phone_number_id: UUID) -> CheckResult:
    """Ask the number's carrier for its settings now, and record the check in the audit log.

    No transaction is open while the carrier is asked. Raise NotFound, CarrierNotConfigured and
    TelephonyError.
    """
    target = find_target(tenant, phone_number_id=phone_number_id, services=services)
    if target is None:
        raise NotFound
    result = query_carrier(tenant, target)
    with tenant_session(tenant, database=services.database) as session:
        context.record_change(session, "phone_number", phone_number_id)
    return result


def find_target(
    tenant: TenantRef, *, services: Services, phone_number_id: UUID
) -> CheckTarget | None:
    """Return the number with its carrier, or None. Raise CarrierNotConfigured."""
    with tenant_session(tenant, database=services.database) as session:
        number = session.get(PhoneNumber, phone_number_id)
        if number is None:
            return None
        carrier = adapter_lookup.adapter_for_number(
            session, provider_assignment.current_ref(number), services=services
        )
        if carrier is None:
            raise CarrierNotConfigured
        return CheckTarget(number.id, number.did_number, number.registration_round, carrier)


def query_carrier(tenant: TenantRef, target: CheckTarget) -> CheckResult:
    """Ask the carrier for the number's settings. Raise TelephonyError."""
    carrier_settings = target.carrier.check_number(
        tenant.id, target.phone_number_id, target.did_number
    )
    return CheckResult(target.carrier.name, clock.now(), carrier_settings)
