"""Find changes of a tenant's settings that allow it to dial or to spend more than before.

Such a change needs the scope `admin`, so that a leaked key that may write cannot permit itself to
dial expensive numbers. What a change asks for is compared with what was effective before it, below
the platform's ceiling: a value that the ceiling hides today would act when the ceiling is raised.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from vca.audit import context, redaction
from vca.kit.web.access import ScopedField, require_field_scopes
from vca.services import Services
from vca.tenant.settings import service
from vca.tenant.settings.dialling import DialPolicy
from vca.tenant.settings.models import Settings

SCOPE = "admin"
# Stands for the country of a dialling number that the tenant does not have yet.
_OWN_COUNTRY = "own"


@dataclass(frozen=True)
class Reach:
    """The countries that one number may dial, and those whose freephone numbers it may dial."""

    countries: frozenset[str]
    freephone: frozenset[str]


@dataclass(frozen=True)
class Dialling:
    """What a tenant's settings allow, by the settings' own fields.

    `requested` and `effective` are by dialling number, without and with the platform's ceiling.
    """

    fields: Mapping[str, Any]
    requested: Mapping[str | None, Reach]
    effective: Mapping[str | None, Reach]
    per_minute: int
    per_day: int


def read_dialling(session: Session, settings: Settings, *, services: Services) -> Dialling:
    """Return what the settings allow now."""
    own_policy = {**service.DEFAULT_DIAL_POLICY, **settings.dial_policy}
    senders: list[str | None] = [*service.list_dialling_numbers(session, services=services)] or [
        None
    ]
    policies = {sender: _policy(session, settings, sender, services=services) for sender in senders}
    any_policy = next(iter(policies.values()))
    return Dialling(
        {
            "home_country": settings.home_country,
            "dial_policy": own_policy,
            "spend_cap": settings.spend_cap,
        },
        {sender: _reach(policy, None) for sender, policy in policies.items()},
        {sender: _reach(policy, policy.ceiling_countries) for sender, policy in policies.items()},
        any_policy.per_minute,
        any_policy.per_day,
    )


def require_scope(
    session: Session,
    settings: Settings,
    before: Dialling,
    after: Dialling,
    *,
    scopes: Collection[str],
) -> None:
    """Check that a key with `scopes` may make this change, and record a widening for the audit.

    Raises ScopeMissing with a pointer per field that allows more than before.
    """
    rules = _rules(before, after)
    require_field_scopes(rules, scopes=scopes, old=before.fields, new=after.fields)
    widened = [rule.pointer for rule in rules if rule.is_needed(before.fields, after.fields)]
    if widened:
        changes = {"widened": redaction.plain_change(None, widened)}
        context.record_change(session, "settings", settings.id, changes=changes)


def _rules(before: Dialling, after: Dialling) -> tuple[ScopedField, ...]:
    def reaches_more(old: object, new: object) -> bool:
        return any(
            not _contains(before.effective.get(sender), reach)
            for sender, reach in after.requested.items()
        )

    return (
        ScopedField("/home_country", SCOPE, reaches_more),
        ScopedField("/dial_policy/countries", SCOPE, reaches_more),
        ScopedField("/dial_policy/per_minute", SCOPE, lambda old, new: new > before.per_minute),
        ScopedField("/dial_policy/per_day", SCOPE, lambda old, new: new > before.per_day),
        ScopedField("/spend_cap", SCOPE, _is_higher_cap),
    )


def _is_higher_cap(old: int | None, new: int | None) -> bool:
    return old is not None and (new is None or new > old)


def _policy(
    session: Session, settings: Settings, sender: str | None, *, services: Services
) -> DialPolicy:
    from_numbers = [] if sender is None else [sender]
    [policy] = service.dial_policies(
        session, settings, from_numbers=from_numbers, services=services
    )
    return policy


def _reach(policy: DialPolicy, ceiling: tuple[str, ...] | None) -> Reach:
    countries = {_OWN_COUNTRY} if policy.countries is None else {*policy.countries}
    freephone = {policy.home_country} if policy.home_country else {*policy.own_countries}
    if ceiling is not None:
        countries &= {*ceiling, _OWN_COUNTRY}
    return Reach(frozenset(countries), frozenset(filter(None, freephone)))


def _contains(old: Reach | None, new: Reach) -> bool:
    return old is not None and new.countries <= old.countries and new.freephone <= old.freephone
