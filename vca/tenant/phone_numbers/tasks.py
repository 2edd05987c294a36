"""Jobs that tell carriers about numbers. No transaction is open while a carrier is asked."""

from typing import Any
from uuid import UUID

from vca.kit import clock, jobs
from vca.registry.usage import periods
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.phone_numbers import drift, holding, moving, registration
from vca.tenant.phone_numbers.drift import CHECK
from vca.tenant.phone_numbers.holding import COUNT
from vca.tenant.phone_numbers.moving import LEAVE
from vca.tenant.phone_numbers.registration import REGISTER, UNREGISTER, Order
from vca.tenant.telephony_accounts import carriers


@jobs.task(REGISTER)
def register(tenant_id: str, **ordered: Any) -> None:
    """Register a number at its carrier."""
    _carry_out(tenant_id, _order(**ordered), register=True)


@jobs.task(UNREGISTER)
def unregister(tenant_id: str, **ordered: Any) -> None:
    """Unregister a number at its carrier."""
    _carry_out(tenant_id, _order(**ordered), register=False)


@jobs.task(CHECK)
def check(tenant_id: str, phone_number_id: str) -> None:
    """See whether a number's carrier holds what was registered."""
    drift.look(TenantRef(UUID(tenant_id)), phone_number_id=UUID(phone_number_id))


@jobs.task(LEAVE)
def leave(tenant_id: str, phone_number_id: str) -> None:
    """Have a number let go by the carrier that it has moved from."""
    number_id = UUID(phone_number_id)
    moving.leave(TenantRef(UUID(tenant_id)), phone_number_id=number_id, now=clock.now())


@jobs.task(COUNT)
def count(tenant_id: str, period: str) -> None:
    """Note for how many days of a month numbers were held."""
    holding.count(TenantRef(UUID(tenant_id)), period=periods.named(period))


def _order(
    *, phone_number_id: str, telephony_account_id: str | None = None, **ordered: Any
) -> Order:
    """The order of a job's arguments; those of before there were accounts name none."""
    account_id = UUID(telephony_account_id) if telephony_account_id else None
    return Order(UUID(phone_number_id), telephony_account_id=account_id, **ordered)


def _carry_out(tenant_id: str, order: Order, *, register: bool) -> None:
    tenant = TenantRef(UUID(tenant_id))
    with enter(tenant) as session:
        if not registration.stands(session, order, register=register):
            return
        carrier = carriers.of_number(session, order.carrier)
    try:
        _call_carrier(tenant, order, carrier, register=register)
    except TelephonyError as error:
        with enter(tenant) as session:
            registration.failed(session, order, register=register, error=error, now=clock.now())
    else:
        with enter(tenant) as session:
            registration.done(session, order, register=register, now=clock.now())


def _call_carrier(
    tenant: TenantRef, order: Order, carrier: TelephonyAdapter | None, *, register: bool
) -> None:
    if carrier is None:
        raise TelephonyError("no carrier configured", permanent=True, code="no-carrier")
    do = carrier.register_number if register else carrier.unregister_number
    do(tenant.id, order.phone_number_id, order.did_number)
