"""Read and update a tenant's settings."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.kit.errors import Conflict, InvalidInput
from vca.registry.number_registry import service as dids
from vca.registry.tenants import tenant_status
from vca.services import Services
from vca.services.lifecycle_hooks import SettingsChange
from vca.tenant.settings import dialling, hours, limits, phrases
from vca.tenant.settings.dialling import (
    DialDecision,
    DiallingSettings,
    DialPolicy,
    RecentDials,
)
from vca.tenant.settings.limits import Limits
from vca.tenant.settings.models import Settings
from vca.tenant.settings.phrases import DEFAULT_SENTENCES

DEFAULT_DIAL_POLICY = {
    "countries": None,
    "per_minute": dialling.DEFAULT_PER_MINUTE,
    "per_day": dialling.DEFAULT_PER_DAY,
}
DEFAULT_RETENTION = dict.fromkeys(("transcripts", "recordings", "payloads"))
MAX_VARIABLES = 50
# JSON documents in which each entry has its own default. They store only other values.
_MERGED_FIELDS = ("sentences", "retention_days", "dial_policy", "variables", "limits")


class HomeCountryNeeded(Conflict):
    """It is not known which countries one of the tenant's numbers may dial."""

    code = dialling.HOME_COUNTRY_NEEDED

    def __init__(self) -> None:
        super().__init__(
            "A number that belongs to no country, such as a freephone number of +1, would dial "
            "this number. Set `home_country` or `dial_policy.countries` in the settings first."
        )


def get(session: Session, *, for_update: bool = False) -> Settings:
    """Return the tenant's settings row; with `for_update` it is locked and read again."""
    statement = select(Settings)
    if for_update:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    return session.scalars(statement).one()


def change(session: Session, *, services: Services, **changes: Any) -> Settings:
    """Update the given settings; an entry of a document that is None is reset to its default.

    Raise InvalidInput for more variables or phrases than a tenant may have.
    """
    settings = get(session, for_update=True)
    for name, value in changes.items():
        setattr(settings, name, _merged_value(name, getattr(settings, name), value))
    if len(settings.variables) > MAX_VARIABLES:
        raise InvalidInput.field(
            "variables", f"A tenant can have at most {MAX_VARIABLES} variables."
        )
    settings.updated_at = session.scalar(select(func.now())) or settings.updated_at
    session.flush()
    change = SettingsChange(changes.keys(), changes.get("retention_days", {}).keys())
    services.lifecycle_hooks.settings_changed(session, change)
    return settings


def retention_days(session: Session, kind: str) -> int | None:
    """Return for how many days a kind of data is kept; None means for ever."""
    days: int | None = get(session).retention_days.get(kind)
    return days


def _merged_value(name: str, stored: Any, new: Any) -> Any:
    if name == "hours":
        return hours.merge(stored, new)
    if name == "phrases":
        return phrases.merge(stored, new)
    if name == "sentences":  # a default that a client sends back is no text of the tenant's
        new = {key: None if text == DEFAULT_SENTENCES[key] else text for key, text in new.items()}
    if name == "limits" and new.get("dialling") is not None:
        new = {**new, "dialling": _merge(stored.get("dialling", {}), new["dialling"]) or None}
    if name in _MERGED_FIELDS:
        return _merge(stored, new)
    return new


def _merge(stored: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with changed entries; one that is None is removed."""
    return {key: value for key, value in {**stored, **new}.items() if value is not None}


def settings_to_dict(session: Session, settings: Settings, *, services: Services) -> dict[str, Any]:
    """Return the settings in force, with defaults where nothing is set and the plan's limits."""
    return {
        "time_zone": settings.time_zone,
        "home_country": settings.home_country,
        "sentences": {**DEFAULT_SENTENCES, **settings.sentences},
        "phrases": settings.phrases,
        "hours": settings.hours,
        "retention_days": {**DEFAULT_RETENTION, **settings.retention_days},
        "dial_policy": {**DEFAULT_DIAL_POLICY, **settings.dial_policy},
        "variables": settings.variables,
        "notification_email": settings.notification_email,
        "spend_cap": settings.spend_cap,
        "limits": vars(effective_limits(session, settings, services=services)),
        "updated_at": settings.updated_at,
    }


def effective_limits(session: Session, settings: Settings, *, services: Services) -> Limits:
    """Return the limits of the session's tenant, set by its plan or by the platform."""
    return limits.effective_limits(
        tenant_status.get_tenant_status(session).plan_limits, settings.limits, services=services
    )


def dial_policies(
    session: Session,
    settings: DiallingSettings,
    *,
    from_numbers: Collection[str],
    services: Services,
) -> set[DialPolicy]:
    """Return the different policies for legs from or through these numbers of the tenant.

    Without numbers, return the policy for a number that is not known yet.
    """
    senders: list[str | None] = [*from_numbers] or [None]
    added_ranges = services.settings.diallable_prefixes
    policies = {
        dialling.effective_policy(settings, from_number=sender, added_ranges=added_ranges)
        for sender in senders
    }
    if not from_numbers or all(policy.home_country for policy in policies):
        return policies
    numbers = list_dialling_numbers(session, services=services)
    countries = {dialling.country_of(number, added_ranges) for number in numbers}
    own_countries = {country for country in countries if country is not None}
    return {
        dialling.effective_policy(
            settings,
            from_number=sender,
            own_countries=own_countries,
            added_ranges=added_ranges,
        )
        for sender in senders
    }


def list_dialling_numbers(session: Session, *, services: Services) -> Collection[str]:
    """Return at least one of the tenant's numbers of each country; they would dial."""
    return services.callbacks.list_number_samples(session)


def check_target_number(
    session: Session, number: str, *, services: Services, from_numbers: Collection[str]
) -> DialDecision:
    """Return whether a number may be stored as the target of forwards or transfers.

    The dial policy applies without frequency limits and freezes, which depend on the moment.
    `from_numbers` are the tenant's numbers that would dial; each of them must be allowed to.
    Without any, and without configured countries, the target's country is not checked. Raise
    HomeCountryNeeded.
    """
    is_own = dids.owned_by_tenant(session, number=number)
    policies = dial_policies(session, get(session), from_numbers=from_numbers, services=services)
    decisions = [
        dialling.check_dial(number, policy=policy, recent=RecentDials(), own_number=is_own)
        for policy in sorted(policies, key=repr)
    ]
    if any(decision.code == "home_country_needed" for decision in decisions):
        raise HomeCountryNeeded
    return next((decision for decision in decisions if not decision.allowed), decisions[0])


def freeze_dialling(session: Session, *, frozen_at: datetime | None) -> Settings:
    """Stop the tenant's outbound dialling from the next leg on; None ends the freeze."""
    settings = get(session, for_update=True)
    settings.dialling_frozen_at = frozen_at and (settings.dialling_frozen_at or frozen_at)
    session.flush()
    return settings
