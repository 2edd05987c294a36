"""The quota of model tokens that simulations, replays and their analyses use in a day.

Nobody is billed for a simulated call, but the deployment pays its model. Each use is a fact of the
usage ledger, and the quota compares their sum. A turn that has begun is always recorded, so the sum
may exceed the quota by the turns and analyses that were in progress at that moment.
"""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.conversation.types import Tokens
from vca.kit import clock
from vca.registry.caps import LimitReached
from vca.services import Services
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.settings import limits
from vca.tenant.settings import service as settings
from vca.tenant.usage import ledger
from vca.tenant.usage.ledger import Fact
from vca.tenant.usage.models import UsageFact

KIND = "simulated_tokens"
LIMIT_NAME = "simulated_tokens_per_day"
_DAY = timedelta(days=1)


def record_tokens(session: Session, call_context: CallContext, tokens: Tokens) -> None:
    """Record tokens that a simulated call used. The caller locks the call's row."""
    before = call_context.tokens
    key = f"call:{call_context.id}:{KIND}:{before}-{before + tokens.total}"
    fact = Fact(key, KIND, tokens.total, clock.now(), call_id=call_context.id)
    ledger.record_facts(session, fact)


def require_tokens(session: Session, *, services: Services, now: datetime) -> None:
    """Raise LimitReached if the tenant has used its simulated tokens of the day."""
    if not has_tokens_left(session, now=now, services=services):
        raise LimitReached(
            LIMIT_NAME, limits.simulated_tokens(settings.get(session).limits, services=services)
        )


def has_tokens_left(session: Session, *, services: Services, now: datetime) -> bool:
    """Return whether the tenant may use more simulated tokens now.

    The day begins at midnight in the tenant's time zone. Any 24 hours may contain two quotas, as
    the end of a day and the start of the next one do, and no more: otherwise a change of the time
    zone would begin a new day.
    """
    tenant_settings = settings.get(session)
    limit = limits.simulated_tokens(tenant_settings.limits, services=services)
    local_now = now.astimezone(ZoneInfo(tenant_settings.time_zone))
    midnight = local_now.replace(hour=0, minute=0, second=0, microsecond=0)
    used_today, used_recently = _used_tokens(session, midnight, now - _DAY)
    return used_today < limit and used_recently < 2 * limit


def _used_tokens(session: Session, *starts: datetime) -> list[int]:
    """Return the tokens that were used since each of the times, in one query."""
    sums = [
        func.coalesce(func.sum(UsageFact.quantity).filter(UsageFact.occurred_at >= start), 0)
        for start in starts
    ]
    conditions = UsageFact.kind == KIND, UsageFact.occurred_at >= min(starts)
    return [int(total) for total in session.execute(select(*sums).where(*conditions)).one()]
