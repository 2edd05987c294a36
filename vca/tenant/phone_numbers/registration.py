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
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

REGISTER = "phone_numbers.register"
UNREGISTER = "phone_numbers.unregister"
# A carrier's own code is told in events, which are small.
_LONGEST_CODE = 100
# Ten tries over about two days: a carrier's bad afternoon must not need a person.
BACK_OFF_S = (10, 60, 300, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400)


@dataclass(frozen=True)
class Order:
    """What a job asks of a carrier. Without a `round` it is the registry's: for whoever has it."""

    phone_number_id: UUID
    did_number: str
    provider_type: str
    round: int | None = None
    attempt: int = 0


def ask(session: Session, number: PhoneNumber) -> None:
    """Order what the number's state wants: registered while active, else unregistered."""
    number.registration_round += 1
    number.registration_next_attempt_at = None
    if number.is_active and providers.current().for_number(number.provider_type) is None:
        _settle(session, number, "failed", code="no-carrier", detail="no carrier configured")
        return
    _settle(session, number, "pending")
    _enqueue(session, _order(number), register=number.is_active)


def withdraw(session: Session, number: PhoneNumber) -> None:
    """Order that its present carrier lets the number go, whatever becomes of the row."""
    _enqueue(session, replace(_order(number), round=None), register=False)


def stands(session: Session, order: Order, *, register: bool) -> bool:
    """Whether an order is still wanted."""
    holder = dids.holder(session, number=order.did_number)
    number = session.get(PhoneNumber, order.phone_number_id)
    if holder != order.phone_number_id or number is None:
        return not register and holder in (None, order.phone_number_id)
    if order.round not in (None, number.registration_round):
        return False
    wanted = number.is_active and _same_carrier(number.provider_type, order.provider_type)
    return wanted is register


def done(session: Session, order: Order, *, register: bool, now: datetime) -> None:
    """Note that the carrier did as ordered; if that is not wanted any more, order what is."""
    number = session.get(PhoneNumber, order.phone_number_id, with_for_update=True)
    if not stands(session, order, register=register):
        _set_right(session, order, number, register=register)
    elif number is not None and _same_carrier(number.provider_type, order.provider_type):
        _settle(session, number, "registered" if register else "unregistered")
        number.registration_checked_at = now
        number.registration_next_attempt_at = None


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
    if number is not None and _same_carrier(number.provider_type, order.provider_type):
        number.registration_checked_at = now
        number.registration_next_attempt_at = again_at
        status = "pending" if again_at else "failed"
        _settle(session, number, status, code=error.code or "carrier-error", detail=str(error))


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
    elif register and holder is None:
        _enqueue(session, replace(order, round=None, attempt=0), register=False)


def _order(number: PhoneNumber) -> Order:
    return Order(
        number.id, number.did_number, number.provider_type, round=number.registration_round
    )


def _enqueue(
    session: Session, order: Order, *, register: bool, run_at: datetime | None = None
) -> None:
    jobs.enqueue(session, REGISTER if register else UNREGISTER, run_at=run_at, **asdict(order))


def _same_carrier(one: str, other: str) -> bool:
    carriers = providers.current()
    return one == other or carriers.for_number(one) is carriers.for_number(other)


def _settle(
    session: Session,
    number: PhoneNumber,
    status: str,
    *,
    code: str | None = None,
    detail: str | None = None,
) -> None:
    number.registration_status = status
    number.registration_code = code = code[:_LONGEST_CODE] if code else None
    number.registration_detail = detail[:500] if detail else None
    session.flush()
    if status in ("registered", "failed"):
        data = {"phone_number_id": number.id, "code": code}
        events.tell(session, Event(f"phone_number.{status}", data))
    dids.note_registration(
        session,
        number=number.did_number,
        phone_number_id=number.id,
        provider_type=number.provider_type,
        status=status,
    )
