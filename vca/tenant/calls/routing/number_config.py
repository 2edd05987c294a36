"""Load what answering a call needs, in one round trip because a caller waits, and stored routes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import db
from vca.kit.errors import NotFound
from vca.tenant.calls.core import live_usage
from vca.tenant.calls.core.models import Call
from vca.tenant.calls.routing.routing_rules import Route, route_from_dict
from vca.tenant.settings.phrases import OwnTexts
from vca.tenant.usage.cap import LiveCalls


@dataclass(frozen=True)
class NumberConfig:
    """The tenant's settings, a number and its profile, in the order of the query.

    The fields of a missing number or profile are None.
    """

    sentences: Mapping[str, str]
    phrases: Mapping[str, Any]
    time_zone: str
    tenant_hours: Mapping[str, Any] | None
    limits: Mapping[str, Any]
    spend_cap: int | None
    variables: Mapping[str, str]
    phone_number_id: Any
    """The number's UUID, or None."""
    is_active: bool | None
    mode: str | None
    forward_to: str | None
    fallback_number: str | None
    number_hours: Mapping[str, Any] | None
    decision_url: Any
    """The URL of the number's decision webhook, or None."""
    decision_secret: Any
    """The encrypted secrets of that webhook as a buffer, or None."""
    named_profile_id: UUID | None
    """The profile that the number names; without one the default profile answers."""
    ai_profile_id: UUID | None
    version: int | None
    name: str | None
    role: str | None
    system_prompt: str | None
    greeting: str | None
    language: str | None
    voice: str | None
    silence_seconds: int | None
    recording: bool | None
    consent_sentence: str | None
    turn: Mapping[str, Any] | None

    @property
    def texts(self) -> OwnTexts:
        """The tenant's own texts."""
        return OwnTexts(self.sentences, self.phrases)


_SELECT_CONFIG = """
SELECT s.sentences, s.phrases, s.time_zone, s.hours, s.limits, s.spend_cap, s.variables, n.id,
    n.is_active, n.mode, n.forward_to, n.fallback_number, n.hours, n.decision_url,
    n.decision_secret, n.ai_profile_id, p.id, p.version, p.name, p.role, p.system_prompt,
    p.greeting, p.language, p.voice, p.silence_seconds, p.recording, p.consent_sentence, p.turn
"""
_FROM_SETTINGS = """
FROM settings s
LEFT JOIN phone_numbers n ON n.id = %(phone_number_id)s
LEFT JOIN ai_profiles p ON
"""
_IS_OF_NUMBER = "(p.id = n.ai_profile_id OR n.ai_profile_id IS NULL AND p.is_default)"
_SELECT_FOR_NUMBER = f"{_SELECT_CONFIG} {_FROM_SETTINGS} {_IS_OF_NUMBER}"
_SELECT_WITH_PROFILE = f"{_SELECT_CONFIG} {_FROM_SETTINGS} p.id = %(ai_profile_id)s"
_SELECT_FOR_CALL = f"""
{_SELECT_CONFIG}, (
    SELECT id FROM calls
    WHERE provider_type = %(provider_type)s AND provider_call_id = %(provider_call_id)s
), live.calls, live.reserved
{_FROM_SETTINGS} {_IS_OF_NUMBER}
CROSS JOIN ({live_usage.SELECT_LIVE_USAGE}) live (calls, reserved)
"""
# The settings row stays locked until the call is inserted: each of several simultaneous calls then
# counts the ones before it against the limits. PostgreSQL would count as of the time before it
# waited for the lock, if both were one statement.
_LOCK_AND_SELECT_FOR_CALL = f"SELECT FROM settings FOR NO KEY UPDATE; {_SELECT_FOR_CALL}"


def load_for_call(
    session: Session,
    *,
    phone_number_id: UUID | None,
    provider_type: str,
    provider_call_id: str,
    simulated: bool,
) -> tuple[NumberConfig, UUID | None, LiveCalls]:
    """Return the configuration for an inbound call and the tenant's live calls, in one round trip.

    Between them is the id of the call, if the carrier repeats a request. Locks the settings of a
    real call's tenant.
    """
    statement = _SELECT_FOR_CALL if simulated else _LOCK_AND_SELECT_FOR_CALL
    parameters = {
        "phone_number_id": _hex(phone_number_id),
        "provider_type": provider_type,
        "provider_call_id": provider_call_id,
    }
    [row] = db.fetch_rows(session.connection(), statement, parameters)
    *columns, known_call_id, live_call_count, reserved = row
    return NumberConfig(*columns), known_call_id, LiveCalls(live_call_count, reserved)


def load_for_number(session: Session, *, phone_number_id: UUID | None) -> NumberConfig:
    """Return the configuration of a number without a call. Locks nothing."""
    parameters = {"phone_number_id": _hex(phone_number_id)}
    [row] = db.fetch_rows(session.connection(), _SELECT_FOR_NUMBER, parameters)
    return NumberConfig(*row)


def load_with_profile(
    session: Session, *, phone_number_id: UUID | None, ai_profile_id: UUID
) -> NumberConfig | None:
    """Return the same with another profile, or None if the tenant has no profile with this id."""
    parameters = {"phone_number_id": _hex(phone_number_id), "ai_profile_id": ai_profile_id.hex}
    [row] = db.fetch_rows(session.connection(), _SELECT_WITH_PROFILE, parameters)
    config = NumberConfig(*row)
    return None if config.ai_profile_id is None else config


def load_route(session: Session, call_id: UUID) -> Route:
    """Return how the call was routed; raise NotFound."""
    stored_route = session.scalar(select(Call.route).where(Call.id == call_id))
    if stored_route is None:
        raise NotFound
    return route_from_dict(stored_route)


def _hex(value: UUID | None) -> str | None:
    return value.hex if value is not None else None
