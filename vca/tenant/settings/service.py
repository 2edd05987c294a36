"""Read and change a tenant's settings."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit.errors import InvalidInput
from vca.registry.number_registry import service as dids
from vca.registry.tenants import tenant_status
from vca.tenant.settings import dialling, hours, limits
from vca.tenant.settings.dialling import DialDecision, RecentDials
from vca.tenant.settings.limits import Limits
from vca.tenant.settings.models import Settings

DEFAULT_SENTENCES = {
    "over_limit": "All our lines are busy at the moment. Please call again in a few minutes.",
    "suspended": "This number is not available at the moment. Goodbye.",
    "closed": "We are closed at the moment. Please call again later. Goodbye.",
    "fallback": "I am sorry, something went wrong on our side. Please call again later. Goodbye.",
}
DEFAULT_DIAL_POLICY = {
    "countries": None,
    "per_minute": dialling.DEFAULT_PER_MINUTE,
    "per_day": dialling.DEFAULT_PER_DAY,
}
DEFAULT_RETENTION = dict.fromkeys(("transcripts", "recordings", "payloads"))
# The jobs by which a new retention has to look at what is there already.
PURGE_TRANSCRIPTS_JOB = "calls.forget"
PURGE_PAYLOADS_JOB = "calls.forget_payloads"
PURGE_EVENTS_JOB = "webhooks.forget"
MAX_VARIABLES = 50
# Documents of which each entry has a default of its own; they keep what differs from it.
_MERGED_FIELDS = ("sentences", "retention_days", "dial_policy", "variables", "limits")


def get(session: Session, *, for_update: bool = False) -> Settings:
    """The tenant's one row of settings; held and read anew `for_update`."""
    statement = select(Settings)
    if for_update:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    return session.scalars(statement).one()


def change(session: Session, **changes: Any) -> Settings:
    """Change what is given; an entry of a document set to None becomes the default again.

    Raises InvalidInput for more variables than a tenant may have.
    """
    settings = get(session, for_update=True)
    for name, value in changes.items():
        setattr(settings, name, _merged_value(name, getattr(settings, name), value))
    if len(settings.variables) > MAX_VARIABLES:
        raise InvalidInput.field("variables", f"More than {MAX_VARIABLES} altogether.")
    settings.updated_at = session.scalar(select(func.now())) or settings.updated_at
    session.flush()
    _reschedule_retention(session, changes.get("retention_days", {}))
    return settings


def _reschedule_retention(session: Session, retention_changes: Mapping[str, Any]) -> None:
    """Have what is there already looked at by the retention that was changed."""
    if "transcripts" in retention_changes:
        queue.withdraw(session, lock=PURGE_TRANSCRIPTS_JOB)
        queue.enqueue(session, PURGE_TRANSCRIPTS_JOB, lock=PURGE_TRANSCRIPTS_JOB)
    if "payloads" in retention_changes:
        queue.withdraw(session, lock=PURGE_PAYLOADS_JOB)
        queue.enqueue(session, PURGE_PAYLOADS_JOB, lock=PURGE_PAYLOADS_JOB)
        queue.withdraw(session, lock=PURGE_EVENTS_JOB)
        queue.enqueue(session, PURGE_EVENTS_JOB, lock=PURGE_EVENTS_JOB)


def retention_days(session: Session, kind: str) -> int | None:
    """For how many days something is kept; None: for ever."""
    days: int | None = get(session).retention_days.get(kind)
    return days


def _merged_value(name: str, stored: Any, new: Any) -> Any:
    if name == "hours":
        return hours.merge(stored, new)
    if name in _MERGED_FIELDS:
        return {key: value for key, value in {**stored, **new}.items() if value is not None}
    return new


def settings_to_dict(session: Session, settings: Settings) -> dict[str, Any]:
    """The settings as they act: the default where nothing was set, the plan's limits."""
    return {
        "time_zone": settings.time_zone,
        "home_country": settings.home_country,
        "sentences": {**DEFAULT_SENTENCES, **settings.sentences},
        "hours": settings.hours,
        "retention_days": {**DEFAULT_RETENTION, **settings.retention_days},
        "dial_policy": {**DEFAULT_DIAL_POLICY, **settings.dial_policy},
        "variables": settings.variables,
        "notification_email": settings.notification_email,
        "spend_cap": settings.spend_cap,
        "limits": vars(effective_limits(session, settings)),
        "updated_at": settings.updated_at,
    }


def effective_limits(session: Session, settings: Settings) -> Limits:
    """The limits of the session's tenant, by its plan and as the platform has set them."""
    return limits.effective_limits(
        tenant_status.get_tenant_status(session).plan_limits, settings.limits
    )


def check_target_number(session: Session, number: str, *, from_number: str | None) -> DialDecision:
    """Whether a number may be kept as one to forward or transfer to.

    The policy without caps and freezes, which are of a moment. `from_number`: the tenant's number
    that would dial; None where that is not known, and then neither is the country.
    """
    return dialling.check_dial(
        number,
        policy=dialling.effective_policy(get(session), from_number=from_number),
        recent=RecentDials(),
        own_number=dids.owned_by_tenant(session, number=number),
        frozen=False,
    )


def freeze_dialling(session: Session, *, at: datetime | None) -> Settings:
    """Stop the session's tenant's dialling from its next leg on; `at` None ends that."""
    settings = get(session, for_update=True)
    settings.dialling_frozen_at = at and (settings.dialling_frozen_at or at)
    session.flush()
    return settings
