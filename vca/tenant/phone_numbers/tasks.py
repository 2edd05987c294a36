"""Jobs that tell carriers about numbers. No transaction is open while a carrier is asked."""

from typing import Any
from uuid import UUID

from vca.kit import clock, jobs
from vca.registry.usage import periods
from vca.telephony import providers
from vca.telephony.adapter import TelephonyError
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.phone_numbers import holding, registration
from vca.tenant.phone_numbers.holding import COUNT
from vca.tenant.phone_numbers.registration import REGISTER, UNREGISTER, Order


@jobs.task(REGISTER)
def register(tenant_id: str, phone_number_id: str, **ordered: Any) -> None:
    """Register a number at its carrier."""
    _carry_out(tenant_id, Order(UUID(phone_number_id), **ordered), register=True)


@jobs.task(UNREGISTER)
def unregister(tenant_id: str, phone_number_id: str, **ordered: Any) -> None:
    """Unregister a number at its carrier."""
    _carry_out(tenant_id, Order(UUID(phone_number_id), **ordered), register=False)


@jobs.task(COUNT)
def count(tenant_id: str, period: str) -> None:
    """Note for how many days of a month numbers were held."""
    holding.count(TenantRef(UUID(tenant_id)), period=periods.named(period))


def _carry_out(tenant_id: str, order: Order, *, register: bool) -> None:
    tenant = TenantRef(UUID(tenant_id))
    with enter(tenant) as session:
        if not registration.stands(session, order, register=register):
            return
    try:
        _call_carrier(tenant, order, register=register)
    except TelephonyError as error:
        with enter(tenant) as session:
            registration.failed(session, order, register=register, error=error, now=clock.now())
    else:
        with enter(tenant) as session:
            registration.done(session, order, register=register, now=clock.now())


def _call_carrier(tenant: TenantRef, order: Order, *, register: bool) -> None:
    carrier = providers.current().for_number(order.provider_type)
    if carrier is None:
        raise TelephonyError("no carrier configured", permanent=True, code="no-carrier")
    do = carrier.register_number if register else carrier.unregister_number
    do(tenant.id, order.phone_number_id, order.did_number)
