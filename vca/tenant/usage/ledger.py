"""Record each usage fact once, and reverse wrong facts once by negative ones.

Each operation locks the usage month first, so that a tenant's facts are rated one after the other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import groupby
from typing import Any, Literal
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import clock, db, json
from vca.kit.errors import Conflict, NotFound
from vca.registry.usage import periods, rating
from vca.registry.usage.periods import UsageMonth
from vca.registry.usage.rating import FREE, UsageAmount
from vca.tenant.usage import thresholds
from vca.tenant.usage.models import UsageFact
from vca.tenant.webhooks import events

Leg = Literal["agent", "call", "transfer", "forward"]
_INSERT_FACTS = """
INSERT INTO usage_facts (
    id, tenant_id, key, kind, leg, quantity, included, unit_price, price_per, amount, plan,
    plan_version, period, call_id, phone_number_id, reverses, occurred_at, noted_at
)
SELECT
    id, current_setting('vca.tenant_id')::uuid, key, kind, leg, quantity, included, unit_price,
    price_per, amount, plan, plan_version, period, call_id, phone_number_id, reverses, occurred_at,
    noted_at
FROM jsonb_to_recordset(%(facts)s) AS f (
    id uuid, key text, kind text, leg text, quantity bigint, included bigint, unit_price bigint,
    price_per bigint, amount bigint, plan text, plan_version integer, period date, call_id uuid,
    phone_number_id uuid, reverses uuid, occurred_at timestamptz, noted_at timestamptz
)
"""
_KNOWN_FACTS_SQL = """
SELECT ARRAY(SELECT id::text FROM usage_facts WHERE id = ANY(%(ids)s::uuid[])), spend_cap
FROM settings
"""
_FACT_NAMESPACE = UUID("6f1f9a86-3a0f-4f0a-9d53-7b0f5c1e2d44")


@dataclass(frozen=True)
class Fact:
    """A quantity of usage in whole units; a fact with the same `key` is recorded only once."""

    key: str
    kind: str
    quantity: int
    occurred_at: datetime
    leg: Leg | None = None
    call_id: UUID | None = None
    phone_number_id: UUID | None = None

    @property
    def id(self) -> UUID:
        """The fact's id, which follows from its key."""
        return uuid5(_FACT_NAMESPACE, self.key)

    @property
    def period(self) -> date:
        """The first day of the month in which the usage occurred."""
        return periods.month_of(self.occurred_at)


class NotReversible(Conflict):
    """The fact was reversed before, or is itself a reversal."""

    code = "not-reversible"

    def __init__(self) -> None:
        super().__init__("The fact was already reversed, or is a reversal.")


def record_facts(session: Session, *facts: Fact) -> None:
    """Record the facts that are not in the ledger yet, rated by the tenant's current plan.

    Emits events for the thresholds that are reached. Facts with a quantity of 0 are skipped.
    """
    sorted_facts = sorted((fact for fact in facts if fact.quantity), key=lambda fact: fact.period)
    for period, of_period in groupby(sorted_facts, key=lambda fact: fact.period):
        _record_month(session, period, list(of_period))


def is_recorded(session: Session, *, key: str) -> bool:
    """Return whether the ledger has a fact with that key."""
    fact_id = Fact(key, "", 0, clock.now()).id
    return session.scalar(select(UsageFact.id).where(UsageFact.id == fact_id)) is not None


def correct_facts(
    session: Session, *, superseded: Iterable[Fact], replacements: Iterable[Fact]
) -> None:
    """Reverse the superseded facts that the ledger has, and record the replacements. Idempotent."""
    superseded_ids = sorted(fact.id for fact in superseded)
    if superseded_ids:
        _reverse_facts(
            session,
            session.scalars(select(UsageFact).where(UsageFact.id.in_(superseded_ids))).all(),
        )
    record_facts(session, *replacements)


def reverse(session: Session, *, fact_id: UUID) -> UUID:
    """Reverse one fact in the month that it counts in; return the id of the reversal.

    Raise NotFound and NotReversible.
    """
    fact = session.get(UsageFact, fact_id)
    if fact is None:
        raise NotFound
    if fact.reverses is not None or not _reverse_facts(session, [fact]):
        raise NotReversible
    return _reversal_id(fact)


def _record_month(session: Session, period: date, facts: Sequence[Fact]) -> None:
    month = periods.lock_month(session, period=period)
    facts_by_id = {fact.id: fact for fact in facts}
    known_ids, spend_cap = _known_facts(session, facts_by_id)
    rows, kinds = [], dict(month.kinds)
    for fact_id, fact in facts_by_id.items():
        if fact_id not in known_ids:
            used_before = kinds.get(fact.kind, rating.NO_USAGE)
            rated = rating.rate(month.plan, fact.kind, fact.quantity, previous_usage=used_before)
            kinds[fact.kind] = used_before + rated
            rows.append(_fact_row(month, fact_id, fact, rated))
    _write_month(session, replace(month, kinds=kinds), rows, spend_cap=spend_cap)


def _reverse_facts(session: Session, facts: Sequence[UsageFact]) -> bool:
    """Reverse the facts that were not reversed yet; return whether there were any."""
    known_ids, spend_cap = _known_facts(session, [_reversal_id(fact) for fact in facts])
    to_reverse = sorted(
        (fact for fact in facts if _reversal_id(fact) not in known_ids), key=_period
    )
    for period, of_period in groupby(to_reverse, key=_period):
        month = periods.lock_month(session, period=period)
        rows, kinds = [], dict(month.kinds)
        for fact in of_period:
            negative = -UsageAmount(fact.quantity, fact.included, fact.amount)
            kinds[fact.kind] = kinds.get(fact.kind, rating.NO_USAGE) + negative
            rows.append(_reversal_row(fact, negative))
        _write_month(session, replace(month, kinds=kinds), rows, spend_cap=spend_cap)
    return bool(to_reverse)


def _write_month(
    session: Session, month: UsageMonth, rows: list[dict[str, Any]], *, spend_cap: int | None
) -> None:
    """Write the facts, the new sums of the month, and events for the thresholds that they reach."""
    if not rows:
        return
    facts = json.dumps(rows).decode()
    db.defer_statement(session.connection(), _INSERT_FACTS, {"facts": facts})
    month = replace(month, amount=rating.total_amount(month.kinds.values()))
    reached_events = dict(thresholds.newly_reached(month, spend_cap=spend_cap))
    notified = [*month.notified_thresholds, *reached_events]
    periods.store_month(
        session, period=month.period, kinds=month.kinds, notified_thresholds=notified
    )
    events.emit(session, *reached_events.values())


def _known_facts(session: Session, ids: Iterable[UUID]) -> tuple[set[UUID], int | None]:
    """Return which of the facts are in the ledger, and the tenant's spend cap, in one query."""
    parameters = {"ids": [fact_id.hex for fact_id in ids]}
    [(known_ids, spend_cap)] = db.fetch_rows(session.connection(), _KNOWN_FACTS_SQL, parameters)
    return set(map(UUID, known_ids)), spend_cap


def _fact_row(month: UsageMonth, fact_id: UUID, fact: Fact, rated: UsageAmount) -> dict[str, Any]:
    price = month.plan.prices.get(fact.kind, FREE)
    return {
        **vars(fact),
        "id": fact_id,
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


def _reversal_row(fact: UsageFact, negative: UsageAmount) -> dict[str, Any]:
    columns = {column.key: getattr(fact, column.key) for column in UsageFact.__table__.columns}
    overrides = {"id": _reversal_id(fact), "key": f"reversal:{fact.key}", "reverses": fact.id}
    return {**columns, **overrides, **vars(negative), "noted_at": clock.now()}


def _reversal_id(fact: UsageFact) -> UUID:
    return uuid5(_FACT_NAMESPACE, f"reversal:{fact.key}")


def _period(fact: UsageFact) -> date:
    return fact.period
