"""Convert stored profiles, turns and calls to the input of the conversation package."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from vca.conversation import localised_phrases, transcript
from vca.conversation.types import CallFacts, Profile
from vca.tenant.calls.core.models import TurnRecord

DEFAULT_SILENCE_S = 10


def to_conversation_profile(
    stored_profile: Mapping[str, Any], phrases: Mapping[str, Any] | None = None
) -> Profile:
    """Convert a stored profile. Unset fields keep their defaults; transfer numbers are left out.

    `phrases` are the tenant's own texts, by language. None: the profile does not speak.
    """
    names = Profile.__dataclass_fields__
    values = {
        name: stored_profile[name]
        for name in names
        if name != "phrases" and stored_profile.get(name) not in (None, [])
    }
    for name in ("end_phrases", "tools"):
        values[name] = tuple(values.get(name, ()))
    targets: Mapping[str, Any] = values.pop("transfer_targets", None) or {}
    values["transfer_targets"] = {
        name: target.get("description", "") for name, target in targets.items()
    }
    language = values.get("language")
    values["phrases"] = localised_phrases.select_overrides(phrases or {}, language)
    return Profile(**values)


def to_transcript(turns: Iterable[TurnRecord]) -> list[transcript.Turn]:
    """Convert stored turns."""
    return [transcript.Turn(turn.speaker, turn.text, turn.heard_text) for turn in turns]


def to_call_facts(call_context: Row[Any], *, now: datetime) -> CallFacts:
    """Return what the prompt may use of a call, from `record.lock_call_context`."""
    variables = {**call_context.variables, **call_context.call_metadata}
    return CallFacts(
        caller_number=call_context.caller_number,
        called_number=call_context.called_number,
        answered_at=call_context.answered_at or now,
        variables={name: str(value) for name, value in variables.items()},
        tokens_spent=call_context.tokens,
    )
