"""Note what was used, once; take back what was wrong by its negative, once.

The month's row is held first, so that facts of one tenant are rated one after the other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import groupby
from typing import Any, Literal
from uuid import UUID, uuid5

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from vca.kit import clock
from vca.kit.errors import Conflict, NotFound
from vca.registry.usage import periods, rating
from vca.registry.usage.periods import Month
from vca.registry.usage.rating import FREE, Used
from vca.tenant.usage import thresholds
from vca.tenant.usage.models import UsageFact
from vca.tenant.webhooks import events

Leg = Literal["agent", "call", "transfer", "forward"]
_ADD = insert(UsageFact.__table__)  # type: ignore[arg-type] # typed as FromClause
_KNOWN = """
SELECT ARRAY(SELECT id::text FROM usage_facts WHERE id = ANY(%(ids)s::uuid[])), spend_cap
FROM settings
"""
_LEDGER = UUID("6f1f9a86-3a0f-4f0a-9d53-7b0f5c1e2d44")


@dataclass(frozen=True)
class Fact:
    """Something that was used; `key` says which once and for all, `quantity` is whole units."""

    key: str
    kind: str
    quantity: int
    occurred_at: datetime
    leg: Leg | None = None
    call_id: UUID | None = None
    phone_number_id: UUID | None = None

    @property
    def id(self) -> UUID:
        return uuid5(_LEDGER, self.key)

    @property
    def period(self) -> date:
        return periods.of(self.occurred_at)


class NotReversible(Conflict):
    """The fact was taken back before, or takes another one back itself."""

    code = "not-reversible"

    def __init__(self) -> None:
        super().__init__("The fact was reversed before, or is a reversal.")


def note(session: Session, *facts: Fact) -> None:
    """Write the facts that are not in the ledger yet, rated by the plan that the tenant has now.

    Tells the thresholds that they reach. Without a quantity there is no fact.
    """
    ordered = sorted((fact for fact in facts if fact.quantity), key=lambda fact: fact.period)
    for period, of_period in groupby(ordered, key=lambda fact: fact.period):
        _note(session, period, list(of_period))


def is_noted(session: Session, *, key: str) -> bool:
    """Whether there is a fact of that key."""
    wanted = Fact(key, "", 0, clock.now()).id
    return session.scalar(select(UsageFact.id).where(UsageFact.id == wanted)) is not None


def correct(session: Session, *, gone: Iterable[Fact], new: Iterable[Fact]) -> None:
    """Take back what has turned out otherwise, as far as it is in the ledger, and note what holds.

    Again it changes nothing.
    """
    wrong = sorted(fact.id for fact in gone)
    if wrong:
        _take_back(session, session.scalars(select(UsageFact).where(UsageFact.id.in_(wrong))).all())
    note(session, *new)


def reverse(session: Session, *, fact_id: UUID) -> UUID:
    """Take one fact back, in the month that it counts in; the reversal's id.

    Raises NotFound and NotReversible.
    """
    fact = session.get(UsageFact, fact_id)
    if fact is None:
        raise NotFound
    if fact.reverses is not None or not _take_back(session, [fact]):
        raise NotReversible
    return _reversal(fact)


def _note(session: Session, period: date, facts: Sequence[Fact]) -> None:
    month = periods.hold(session, period=period)
    known, cap = _known(session, [fact.id for fact in facts])
    rows, kinds = [], dict(month.kinds)
    for fact in facts:
        if fact.id not in known:
            before = kinds.get(fact.kind, rating.NOTHING)
            rated = rating.rate(month.plan, fact.kind, fact.quantity, used=before)
            kinds[fact.kind] = before + rated
            rows.append(_row(month, fact, rated))
    _write(session, replace(month, kinds=kinds), rows, spend_cap=cap)


def _take_back(session: Session, facts: Sequence[UsageFact]) -> bool:
    """Whether any of them had not been taken back."""
    known, cap = _known(session, [_reversal(fact) for fact in facts])
    wrong = sorted((fact for fact in facts if _reversal(fact) not in known), key=_period)
    for period, of_period in groupby(wrong, key=_period):
        month = periods.hold(session, period=period)
        rows, kinds = [], dict(month.kinds)
        for fact in of_period:
            negative = -Used(fact.quantity, fact.included, fact.amount)
            kinds[fact.kind] = kinds.get(fact.kind, rating.NOTHING) + negative
            rows.append(_negative(fact, negative))
        _write(session, replace(month, kinds=kinds), rows, spend_cap=cap)
    return bool(wrong)


def _write(
    session: Session, month: Month, rows: list[dict[str, Any]], *, spend_cap: int | None
) -> None:
    """The facts, the month's sums with them, and the thresholds that these have come to."""
    if not rows:
        return
    session.connection().execute(_ADD, rows)
    month = replace(month, amount=rating.total(month.kinds.values()))
    crossed = dict(thresholds.reached(month, spend_cap=spend_cap))
    told = [*month.told, *crossed]
    periods.keep(session, period=month.period, kinds=month.kinds, told=told)
    events.tell(session, *crossed.values())


def _known(session: Session, ids: Sequence[UUID]) -> tuple[set[UUID], int | None]:
    """Which of the facts are in the ledger, and the tenant's spend cap, in one read."""
    asked = {"ids": [str(each) for each in ids]}
    found, cap = session.connection().exec_driver_sql(_KNOWN, asked).one()
    return set(map(UUID, found)), cap


def _row(month: Month, fact: Fact, rated: Used) -> dict[str, Any]:
    price = month.plan.prices.get(fact.kind, FREE)
    return {
        **vars(fact),
        "id": fact.id,
        "period": month.period,
        "included": rated.included,
        "unit_price": price.price,
        "price_per": price.per,
        "amount": rated.amount,
        "plan": month.plan.name,
        "plan_version": month.plan.version,
        "reverses": None,
        "noted_at": clock.now(),
    }


def _negative(fact: UsageFact, negative: Used) -> dict[str, Any]:
    kept = {column.key: getattr(fact, column.key) for column in UsageFact.__table__.columns}
    own = {"id": _reversal(fact), "key": f"reversal:{fact.key}", "reverses": fact.id}
    return {**kept, **own, **vars(negative), "noted_at": clock.now()}


def _reversal(fact: UsageFact) -> UUID:
    return uuid5(_LEDGER, f"reversal:{fact.key}")


def _period(fact: UsageFact) -> date:
    return fact.period
