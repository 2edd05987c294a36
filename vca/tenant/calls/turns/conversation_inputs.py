"""Convert stored profiles, turns and calls to the input of the conversation package."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from vca.conversation import transcript
from vca.conversation.types import CallFacts, Profile
from vca.tenant.calls.core import simulations
from vca.tenant.calls.core.models import TurnRecord

DEFAULT_SILENCE_S = 10


def to_conversation_profile(stored_profile: Mapping[str, Any]) -> Profile:
    """Convert a stored profile. Unset fields keep their defaults; transfer numbers are left out."""
    names = Profile.__dataclass_fields__
    values = {
        name: stored_profile[name]
        for name in names
        if name in stored_profile and stored_profile[name] not in (None, [])
    }
    for name in ("end_phrases", "tools"):
        values[name] = tuple(values.get(name, ()))
    targets: Mapping[str, Any] = values.pop("transfer_targets", None) or {}
    values["transfer_targets"] = {
        name: target.get("description", "") for name, target in targets.items()
    }
    return Profile(**values)


def to_transcript(turns: Iterable[TurnRecord]) -> list[transcript.Turn]:
    """Convert stored turns."""
    return [transcript.Turn(turn.speaker, turn.text, turn.heard_text) for turn in turns]


def to_call_facts(call_context: Row[Any], *, now: datetime) -> CallFacts:
    """Return what the prompt may use of a call, from `record.lock_call_context`.

    `now` and all times that it returns are on the call's clock.
    """
    answered_at = call_context.answered_at
    variables = {**call_context.variables, **call_context.call_metadata}
    return CallFacts(
        caller_number=call_context.caller_number,
        called_number=call_context.called_number,
        answered_at=simulations.call_time(call_context, answered_at) if answered_at else now,
        variables={name: str(value) for name, value in variables.items()},
        tokens_spent=call_context.tokens,
    )
