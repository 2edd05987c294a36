"""Simulated calls that are spoken into: the agent's answer at once, or as its words come."""

from collections.abc import Generator
from contextlib import closing
from typing import Any
from uuid import UUID

from vca.kit.web.events import Event
from vca.telephony.providers import Carriers
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.calls import long_answers, service, telephone
from vca.tenant.calls.desk import Desk
from vca.tenant.calls.models import Call
from vca.tenant.calls.refs import CallRef
from vca.tenant.calls.telephone import Heard, Telephone


def stream(
    tenant: TenantRef, *, carriers: Carriers, desk: Desk, call_id: UUID, text: str
) -> Generator[Event, None, None]:
    """A `clause` for all that the agent says, when it says it; at last the whole `reply`.

    Raises NotFound, CallEnded and TooManyStreams before the first of them.
    """
    with long_answers.one():
        service.require_open(tenant, call_id=call_id)
        line = Telephone(carriers.simulator, desk)
        with closing(line.speak(CallRef(tenant, call_id), text)) as speech:
            heard = yield from _clauses(speech)
        with enter(tenant) as session:
            call = service.get(session, call_id=call_id)
        yield "reply", reply(call, heard)


def reply(call: Call, heard: Heard) -> dict[str, Any]:
    """What the agent answered, as the API shows it."""
    return {"status": call.status, "reply": heard.text, "actions": telephone.shown(heard)}


def _clauses(speech: telephone.Speech) -> Generator[Event, None, Heard]:
    while True:
        try:
            text = next(speech)
        except StopIteration as end:
            heard: Heard = end.value
            return heard
        yield "clause", {"text": text}
