"""Convert stored profiles, turns and calls to the input of the conversation package."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from vca.conversation import transcript
from vca.conversation.types import (
    CallFacts,
    Holiday,
    MinuteSpan,
    OpeningHours,
    Profile,
    Schedule,
)
from vca.kit import json
from vca.services import Services
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.calls.core.call_profile import CallProfile
from vca.tenant.calls.core.models import TurnRecord
from vca.tenant.settings import hours
from vca.tenant.settings.phrases import OwnTexts

# How many holidays an agent knows: the next ones, within a year.
_MAX_HOLIDAYS = 6
_MAX_DAYS_AHEAD = 365


def to_conversation_profile(profile: CallProfile, texts: OwnTexts) -> Profile:
    """Return the profile that speaks, with the tenant's own texts in its language."""
    overrides = texts.overrides(profile.language)
    if not overrides:
        return profile.conversation
    return replace(profile.conversation, phrases=overrides)


def to_transcript(turns: Iterable[TurnRecord]) -> list[transcript.Turn]:
    """Convert stored turns."""
    return [transcript.Turn(turn.speaker, turn.text, turn.heard_text) for turn in turns]


def to_call_facts(call_context: CallContext, *, now: datetime) -> CallFacts:
    """Return what the prompt may use of a call.

    `now` and all times that it returns are on the call's clock.
    """
    answered_at = call_context.answered_at
    return CallFacts(
        caller_number=call_context.caller_number,
        called_number=call_context.called_number,
        answered_at=call_context.simulation.call_time(answered_at) if answered_at else now,
        variables=call_context.variables,
        tokens_spent=call_context.tokens,
        hours=to_opening_hours(call_context.hours, time_zone=call_context.time_zone, moment=now),
    )


def to_opening_hours(
    stored_hours: str | bytes | None, *, time_zone: str, moment: datetime
) -> OpeningHours | None:
    """Return the hours in a JSON document, with their state at a moment; None if none are set."""
    if stored_hours is None:
        return None
    minute = moment.astimezone(UTC).replace(second=0, microsecond=0)
    return _opening_hours(stored_hours, time_zone, minute)


# Callers say several things in a minute, and a tenant has several callers.
@lru_cache(maxsize=4096)
def _opening_hours(
    stored_hours: str | bytes, time_zone: str, minute: datetime
) -> OpeningHours | None:
    parsed = hours.parse_hours(json.loads(stored_hours))
    if parsed is None or (parsed.weekly is None and not parsed.holidays):
        return None
    zone = ZoneInfo(time_zone)
    state = hours.state_at(parsed, zone, minute)
    today = minute.astimezone(zone).date()
    days = (today, today + timedelta(_MAX_DAYS_AHEAD))
    holidays = sorted(day for day in parsed.holidays if days[0] <= day <= days[1])
    weekly = parsed.weekly
    return OpeningHours(
        Schedule(
            None if weekly is None else tuple(_to_spans(weekly[day]) for day in hours.DAYS),
            tuple(
                Holiday(day, _to_spans(parsed.holidays[day].spans), parsed.holidays[day].name)
                for day in holidays[:_MAX_HOLIDAYS]
            ),
        ),
        time_zone,
        is_open=isinstance(state, hours.Open),
        opens_at=state.opens_at if isinstance(state, hours.Closed) else None,
    )


def _to_spans(spans: Iterable[hours.Span]) -> tuple[MinuteSpan, ...]:
    return tuple(sorted((span.start, span.end) for span in spans))


def to_engine_inputs(
    call_context: CallContext,
    previous_turns: Sequence[TurnRecord],
    utterance: str,
    *,
    services: Services,
    started_at: datetime,
) -> dict[str, Any]:
    """Return the arguments with which the engine replies to an utterance, except the models."""
    now = call_context.simulation.call_time(started_at)
    return {
        "profile": to_conversation_profile(call_context.agent, call_context.texts),
        "turns": to_transcript(previous_turns),
        "utterance": utterance,
        "facts": to_call_facts(call_context, now=now),
        "now": now.astimezone(ZoneInfo(call_context.time_zone)),
        "limits": services.limits,
    }
