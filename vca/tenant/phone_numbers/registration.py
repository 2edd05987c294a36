"""A number's registration at its carrier: what is ordered, and what came of it.

An order may be carried out late, twice, or beside its opposite. So each is checked against the
number's row before the carrier is asked and again afterwards; when something else is wanted by
then, that is ordered anew, and the last word at the carrier is the one that the row wants.
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from random import uniform
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit import jobs
from vca.registry.dids import service as dids
from vca.telephony import providers
from vca.telephony.adapter import TelephonyError
from vca.telephony.types import CarrierRef
from vca.tenant.phone_numbers import at_carrier, drift
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.telephony_accounts import carriers

REGISTER = "phone_numbers.register"
UNREGISTER = "phone_numbers.unregister"
# Ten tries over about two days: a carrier's bad afternoon must not need a person.
BACK_OFF_S = (10, 60, 300, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400)


@dataclass(frozen=True)
class Order:
    """What a job asks of a carrier. Without a `round` it is the registry's: for whoever has it."""

    phone_number_id: UUID
    did_number: str
    provider_type: str
    telephony_account_id: UUID | None = None
    round: int | None = None
    attempt: int = 0

    @property
    def carrier(self) -> CarrierRef:
        """Who is asked."""
        return CarrierRef(self.provider_type, self.telephony_account_id)


def ask(session: Session, number: PhoneNumber) -> None:
    """Order what the number's state wants: registered while active, else unregistered."""
    number.registration_round += 1
    number.registration_next_attempt_at = None
    present = at_carrier.ref_of(number)
    if number.is_active and carriers.of_number(session, present) is None:
        detail = "no carrier configured"
        at_carrier.settle(session, number, "failed", code="no-carrier", detail=detail)
        return
    at_carrier.settle(session, number, "pending")
    order = _order(number, present, round=number.registration_round)
    _enqueue(session, order, register=number.is_active)


def withdraw(session: Session, number: PhoneNumber, ref: CarrierRef | None = None) -> None:
    """Order that its present carrier, or that one, lets the number go, whatever becomes of it."""
    order = _order(number, ref or at_carrier.ref_of(number))
    _enqueue(session, order, register=False)


def stands(session: Session, order: Order, *, register: bool) -> bool:
    """Whether an order is still wanted.

    Where a number may ring from the carrier before, that one does not let it go yet.
    """
    holder = dids.holder(session, number=order.did_number)
    number = session.get(PhoneNumber, order.phone_number_id)
    if holder != order.phone_number_id or number is None:
        return not register and holder in (None, order.phone_number_id)
    if order.round not in (None, number.registration_round):
        return False
    if not register and same(at_carrier.previous_of(number), order.carrier):
        return False
    return (number.is_active and _is_present(number, order)) is register


def done(session: Session, order: Order, *, register: bool, now: datetime) -> None:
    """Note that the carrier did as ordered; if that is not wanted any more, order what is."""
    number = session.get(PhoneNumber, order.phone_number_id, with_for_update=True)
    if not stands(session, order, register=register):
        _set_right(session, order, number, register=register)
    elif number is not None and _is_present(number, order):
        at_carrier.settle(session, number, "registered" if register else "unregistered")
        number.registration_checked_at = now
        number.registration_next_attempt_at = None
        if register:
            drift.watch(session, number, now=now)


def failed(
    session: Session, order: Order, *, register: bool, error: TelephonyError, now: datetime
) -> None:
    """Note that the carrier did not, and order it again later unless that cannot help."""
    number = session.get(PhoneNumber, order.phone_number_id, with_for_update=True)
    if not stands(session, order, register=register):
        return
    again_at = None
    if not error.permanent and order.attempt < len(BACK_OFF_S):
        again_at = now + back_off(order.attempt, at_least_s=error.retry_after_s)
        again = replace(order, attempt=order.attempt + 1)
        _enqueue(session, again, register=register, run_at=again_at)
    if number is not None and _is_present(number, order):
        number.registration_checked_at = now
        number.registration_next_attempt_at = again_at
        status, code = "pending" if again_at else "failed", error.code or "carrier-error"
        at_carrier.settle(session, number, status, code=code, detail=str(error))


def same(one: CarrierRef | None, other: CarrierRef) -> bool:
    """Whether both are the same account with the same carrier, by whatever name."""
    if one is None or one.account_id != other.account_id:
        return False
    name_of = providers.current().name_of
    return name_of(one.provider_type) == name_of(other.provider_type)


def back_off(attempt: int, *, at_least_s: int | None = None) -> timedelta:
    """How long to wait after a failed attempt (0 is the first), with a fifth of jitter."""
    wait_s = BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)] * uniform(0.8, 1.2)
    return timedelta(seconds=max(wait_s, at_least_s or 0))


def _set_right(
    session: Session, order: Order, number: PhoneNumber | None, *, register: bool
) -> None:
    """The carrier has just done what nobody wants now."""
    holder = dids.holder(session, number=order.did_number)
    if number is not None and holder == number.id:
        ask(session, number)
        if register and not _is_present(number, order):
            withdraw(session, number, order.carrier)
    elif register and holder is None:
        _enqueue(session, replace(order, round=None, attempt=0), register=False)


def _order(number: PhoneNumber, ref: CarrierRef, *, round: int | None = None) -> Order:
    return Order(number.id, number.did_number, ref.provider_type, ref.account_id, round=round)


def _enqueue(
    session: Session, order: Order, *, register: bool, run_at: datetime | None = None
) -> None:
    jobs.enqueue(session, REGISTER if register else UNREGISTER, run_at=run_at, **asdict(order))


def _is_present(number: PhoneNumber, order: Order) -> bool:
    return same(at_carrier.ref_of(number), order.carrier)
