"""Rebuild a tenant's monthly usage from its ledger after an import.

The session must be an owner session that is not inside a tenant.
"""

from collections import defaultdict
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.registry.usage import periods
from vca.registry.usage.rating import UsageAmount
from vca.tenancy.schema import TenantRef
from vca.tenant.usage import calendar_days

_MONTH_SUMS_SQL = """
SELECT period, kind, sum(quantity), sum(included), sum(amount)
FROM "{schema}".usage_facts GROUP BY period, kind
"""


def rebuild_usage(session: Session, tenant: TenantRef, now: datetime) -> None:
    """Write the tenant's months from its ledger, and schedule the metering by the day."""
    months: dict[date, dict[str, UsageAmount]] = defaultdict(dict)
    for period, kind, *figures in session.execute(
        text(_MONTH_SUMS_SQL.format(schema=tenant.schema))
    ):
        months[period][kind] = UsageAmount(*map(int, figures))
    periods.replace_months(session, tenant_id=tenant.id, months=months)
    current_period = periods.month_of(now)
    period_end, arguments = (
        calendar_days.period_end(current_period),
        {"tenant_id": tenant.id, "period": periods.format_month(current_period)},
    )
    queue.enqueue(session, "phone_numbers.count", run_at=period_end, lock=None, **arguments)
    queue.enqueue(session, "recordings.count", run_at=period_end, lock=None, **arguments)
