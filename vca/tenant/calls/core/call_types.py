"""What of a call crosses between the flow and whatever carries it."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from vca.conversation import speech_text
from vca.telephony.types import Action, ProviderAccountRef, Say
from vca.tenancy.schema import TenantRef


@dataclass(frozen=True)
class CallRef:
    """A call as plain code holds it."""

    tenant: TenantRef
    call_id: UUID


@dataclass(frozen=True)
class NewCall:
    """A call that is about to be recorded."""

    phone_number_id: UUID | None
    ai_profile_id: UUID | None
    ai_profile_version: int | None
    caller_number: str | None
    caller_id: str
    called_number: str
    provider_type: str
    provider_call_id: str
    simulated: bool
    route: Mapping[str, Any]
    telephony_account_id: UUID | None = None
    recording_status: str | None = None
    reserved: int = 0
    direction: str = "inbound"
    call_metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SpokenChunk:
    """A part of what the agent says, to be spoken at once."""

    text: str
    language: str | None = None
    voice: str | None = None


@dataclass(frozen=True)
class TurnResult:
    """What the carrier shall do now. `ref` None: no record was made.

    `turns` is how many turns are on record by now, None once nothing is listened for any more.
    """

    ref: CallRef | None
    actions: tuple[Action, ...]
    turns: int | None = None


def account_of(call: Any) -> ProviderAccountRef:
    """Who holds a call, of its row or a part of it."""
    return ProviderAccountRef(call.provider_type, call.telephony_account_id)


def collect_turn(turn: Generator[SpokenChunk, None, TurnResult]) -> TurnResult:
    """A turn collected: the words as one sentence to say, and then what follows them."""
    chunks: list[SpokenChunk] = []
    while True:
        try:
            chunks.append(next(turn))
        except StopIteration as end:
            result: TurnResult = end.value
            return replace(result, actions=(*join_chunks(chunks), *result.actions))


def join_chunks(chunks: list[SpokenChunk]) -> tuple[Say, ...]:
    """Clauses as one thing to say; nothing for none."""
    if not chunks:
        return ()
    text = speech_text.join_chunks(chunk.text for chunk in chunks)
    return (Say(text, chunks[0].language, chunks[0].voice),)
