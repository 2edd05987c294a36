"""Rebuild a tenant's monthly usage from its ledger after an import.

The session must be an owner session that is not inside a tenant.
"""

from collections import defaultdict
from datetime import date

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.registry.usage import periods
from vca.registry.usage.rating import UsageAmount
from vca.tenancy.schema import TenantRef

_MONTH_SUMS_SQL = """
SELECT period, kind, sum(quantity), sum(included), sum(amount)
FROM "{schema}".usage_facts GROUP BY period, kind
"""


def rebuild_usage(session: Session, tenant: TenantRef) -> None:
    """Write the tenant's months from its ledger."""
    months: dict[date, dict[str, UsageAmount]] = defaultdict(dict)
    for period, kind, *figures in session.execute(
        text(_MONTH_SUMS_SQL.format(schema=tenant.schema))
    ):
        months[period][kind] = UsageAmount(*map(int, figures))
    periods.replace_months(session, tenant_id=tenant.id, months=months)
