"""Load what answering a call needs, in one query because a caller waits, and stored routes."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Executable, Row, Select, bindparam, or_, select
from sqlalchemy.orm import Session

from vca.kit.errors import NotFound
from vca.tenant.ai_profiles.models import AiProfile
from vca.tenant.calls.core.models import Call
from vca.tenant.calls.routing.routing_rules import Route, route_from_dict
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.settings.models import Settings


def _select_config(profile_condition: ColumnElement[bool]) -> Select[Any]:
    """Return a query of settings, number and profile; columns of a missing row are null."""
    return (
        select(
            Settings.sentences,
            Settings.phrases,
            Settings.time_zone,
            Settings.hours.label("tenant_hours"),
            Settings.limits,
            Settings.spend_cap,
            Settings.variables,
            PhoneNumber.id.label("phone_number_id"),
            PhoneNumber.is_active,
            PhoneNumber.mode,
            PhoneNumber.forward_to,
            PhoneNumber.fallback_number,
            PhoneNumber.hours.label("number_hours"),
            PhoneNumber.decision_url,
            PhoneNumber.decision_secret,
            PhoneNumber.ai_profile_id.label("named_profile_id"),
            AiProfile.id.label("ai_profile_id"),
            AiProfile.version,
            AiProfile.name,
            AiProfile.role,
            AiProfile.system_prompt,
            AiProfile.greeting,
            AiProfile.language,
            AiProfile.voice,
            AiProfile.silence_seconds,
            AiProfile.recording,
            AiProfile.consent_sentence,
            AiProfile.turn,
        )
        .select_from(Settings)
        .outerjoin(PhoneNumber, PhoneNumber.id == bindparam("phone_number_id"))
        .outerjoin(AiProfile, profile_condition)
    )


_SELECT_CONFIG = _select_config(
    or_(
        AiProfile.id == PhoneNumber.ai_profile_id,
        PhoneNumber.ai_profile_id.is_(None) & AiProfile.is_default,
    )
)
_SELECT_WITH_PROFILE = _select_config(AiProfile.id == bindparam("ai_profile_id"))
_SELECT_FOR_CALL = _SELECT_CONFIG.add_columns(
    select(Call.id)
    .where(
        Call.provider_type == bindparam("provider_type"),
        Call.provider_call_id == bindparam("provider_call_id"),
    )
    .scalar_subquery()
    .label("known_call_id")
)
# The settings row stays locked until the call is inserted: each of several simultaneous calls then
# counts the ones before it against the limits.
_SELECT_FOR_CALL_LOCKED = _SELECT_FOR_CALL.with_for_update(of=Settings, key_share=True)


def load_for_call(
    session: Session,
    *,
    phone_number_id: UUID | None,
    provider_type: str,
    provider_call_id: str,
    simulated: bool,
) -> Row[Any]:
    """Return the number, its profile and the tenant's settings for an inbound call, in one query.

    Locks the settings of a real call's tenant. `known_call_id` is set if the carrier repeats a
    request.
    """
    parameters = {
        "phone_number_id": phone_number_id,
        "provider_type": provider_type,
        "provider_call_id": provider_call_id,
    }
    statement: Executable = _SELECT_FOR_CALL if simulated else _SELECT_FOR_CALL_LOCKED
    config: Row[Any] = session.connection().execute(statement, parameters).one()
    return config


def load_for_number(session: Session, *, phone_number_id: UUID | None) -> Row[Any]:
    """Return the same for a number without a call. Locks nothing."""
    statement: Executable = _SELECT_CONFIG
    parameters = {"phone_number_id": phone_number_id}
    config: Row[Any] = session.connection().execute(statement, parameters).one()
    return config


def load_with_profile(
    session: Session, *, phone_number_id: UUID | None, ai_profile_id: UUID
) -> Row[Any] | None:
    """Return the same with another profile, or None if the tenant has no profile with this id."""
    statement: Executable = _SELECT_WITH_PROFILE
    parameters = {"phone_number_id": phone_number_id, "ai_profile_id": ai_profile_id}
    config: Row[Any] = session.connection().execute(statement, parameters).one()
    return None if config.ai_profile_id is None else config


def load_route(session: Session, call_id: UUID) -> Route:
    """Return how the call was routed; raise NotFound."""
    stored_route = session.scalar(select(Call.route).where(Call.id == call_id))
    if stored_route is None:
        raise NotFound
    return route_from_dict(stored_route)
