"""Utterances in simulated calls: the agent's reply at once, or streamed."""

from collections.abc import Generator
from contextlib import closing
from typing import Any
from uuid import UUID

from vca.kit.web.sse import Event
from vca.telephony.providers import Carriers
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.calls import service
from vca.tenant.calls.core.call_services import CallServices
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.models import Call
from vca.tenant.calls.simulation import simulated_phone, stream_limit
from vca.tenant.calls.simulation.simulated_phone import CallOutput, SimulatedPhone


def stream_turn(
    tenant: TenantRef, *, carriers: Carriers, services: CallServices, call_id: UUID, text: str
) -> Generator[Event, None, None]:
    """Yield a `clause` event per chunk of the agent's reply, then one `reply` event with all of it.

    Raises NotFound, CallEnded and TooManyStreams before the first event.
    """
    with stream_limit.stream_slot():
        service.require_live_simulation(tenant, call_id=call_id)
        phone = SimulatedPhone(carriers.simulator, services)
        with closing(phone.stream_say(CallRef(tenant, call_id), text)) as output_stream:
            call_output = yield from _chunk_events(output_stream)
        with tenant_session(tenant) as session:
            call = service.get_call(session, call_id=call_id)
        yield "reply", build_reply(call, call_output)


def build_reply(call: Call, call_output: CallOutput) -> dict[str, Any]:
    """Return the agent's reply as the API returns it."""
    return {
        "status": call.status,
        "reply": call_output.text,
        "actions": simulated_phone.public_actions(call_output),
    }


def _chunk_events(
    output_stream: simulated_phone.OutputStream,
) -> Generator[Event, None, CallOutput]:
    while True:
        try:
            text = next(output_stream)
        except StopIteration as end:
            call_output: CallOutput = end.value
            return call_output
        yield "clause", {"text": text}
