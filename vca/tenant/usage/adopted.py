"""What a tenant has used, when the tenant is brought in; for the lifecycle of whole tenants.

The session is the owner's, in no tenant.
"""

from collections import defaultdict
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit import jobs
from vca.registry.usage import periods
from vca.registry.usage.rating import Used
from vca.tenancy.schema import TenantRef
from vca.tenant.usage import days

_SUMS = """
SELECT period, kind, sum(quantity), sum(included), sum(amount)
FROM "{schema}".usage_facts GROUP BY period, kind
"""


def recount(session: Session, tenant: TenantRef, now: datetime) -> None:
    """Write the tenant's months from its ledger, and have what it holds counted by the day."""
    months: dict[date, dict[str, Used]] = defaultdict(dict)
    for period, kind, *figures in session.execute(text(_SUMS.format(schema=tenant.schema))):
        months[period][kind] = Used(*map(int, figures))
    periods.replace(session, tenant_id=tenant.id, months=months)
    this = periods.of(now)
    over, counted = days.ends(this), {"tenant_id": tenant.id, "period": periods.name(this)}
    jobs.enqueue(session, "phone_numbers.count", run_at=over, lock=None, **counted)
    jobs.enqueue(session, "recordings.count", run_at=over, lock=None, **counted)
