"""What of a call crosses between the flow and whatever carries it."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from vca.conversation import spoken
from vca.telephony.types import Action, CarrierRef, Say
from vca.tenancy.schema import TenantRef


@dataclass(frozen=True)
class CallRef:
    """A call as plain code holds it."""

    tenant: TenantRef
    call_id: UUID


@dataclass(frozen=True)
class Clause:
    """A part of what the agent says, to be spoken at once."""

    text: str
    language: str | None = None
    voice: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What the carrier shall do now. `ref` None: no record was made.

    `turns` is how many turns are on record by now, None once nothing is listened for any more.
    """

    ref: CallRef | None
    actions: tuple[Action, ...]
    turns: int | None = None


def carrier_of(call: Any) -> CarrierRef:
    """Who holds a call, of its row or a part of it."""
    return CarrierRef(call.provider_type, call.telephony_account_id)


def whole(said: Generator[Clause, None, Outcome]) -> Outcome:
    """A turn collected: the words as one sentence to say, and then what follows them."""
    clauses: list[Clause] = []
    while True:
        try:
            clauses.append(next(said))
        except StopIteration as end:
            outcome: Outcome = end.value
            return replace(outcome, actions=(*joined(clauses), *outcome.actions))


def joined(clauses: list[Clause]) -> tuple[Say, ...]:
    """Clauses as one thing to say; nothing for none."""
    if not clauses:
        return ()
    text = spoken.joined(clause.text for clause in clauses)
    return (Say(text, clauses[0].language, clauses[0].voice),)
