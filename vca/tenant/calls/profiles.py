"""A stored AI profile, and what is known of a call, as the conversation wants them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from vca.conversation import transcript
from vca.conversation.types import CallFacts, Profile
from vca.tenant.calls.models import Line

SILENCE_S = 10


def conversational(kept: Mapping[str, Any]) -> Profile:
    """A stored profile; what was left open keeps its default, and no number crosses over."""
    names = Profile.__dataclass_fields__
    given = {name: kept[name] for name in names if name in kept and kept[name] not in (None, [])}
    for name in ("end_phrases", "tools"):
        given[name] = tuple(given.get(name, ()))
    targets: Mapping[str, Any] = given.pop("transfer_targets", None) or {}
    given["transfer_targets"] = {
        name: target.get("description", "") for name, target in targets.items()
    }
    return Profile(**given)


def transcript_of(lines: Iterable[Line]) -> list[transcript.Turn]:
    """What was said, as the conversation wants it."""
    return [transcript.Turn(line.speaker, line.text, line.heard_text) for line in lines]


def facts_of(talk: Row[Any], *, at: datetime) -> CallFacts:
    """What the prompt may tell of a call under way, as `record.talk` reads it."""
    notes = {**talk.variables, **talk.call_metadata}
    return CallFacts(
        caller_number=talk.caller_number,
        called_number=talk.called_number,
        answered_at=talk.answered_at or at,
        variables={name: str(value) for name, value in notes.items()},
        tokens_spent=talk.tokens,
    )
