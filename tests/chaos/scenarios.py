"""The calls of a chaos run, and what must be true of each call at its end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.chaos.carrier_client import NoResponse, RetryingCarrierClient, post
from tests.chaos.failpoints import END_WITHIN_S, FETCHED_WITHIN_S
from tests.chaos.fixtures import ChaosTenant
from tests.support.carrier_adapter import RemoteCarrierAdapter
from tests.support.carrier_server import CarrierServer
from tests.support.factories import fresh_number
from vca.kit import json

_POLL_EVERY_S = 0.25
_EXPECTED_SPEAKERS = ["agent", "caller", "agent", "caller", "agent"]
_STORED = ("stored", "deleted")


@dataclass
class CallResult:
    """The result of one call. A correct call has no `problems`."""

    scenario: str
    problems: list[str] = field(default_factory=list)
    ended_after_s: float = 0.0
    dialled: bool = True

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.problems.append(otherwise)


@dataclass(frozen=True)
class ScenarioContext:
    """What a scenario needs to play one call."""

    tenant: ChaosTenant
    server: CarrierServer
    adapter: RemoteCarrierAdapter
    port: int

    def ring(self, number: dict[str, Any]) -> RetryingCarrierClient:
        carrier_client = self._carrier_client(self.server.add_inbound_call(f"in-{uuid4().hex}"))
        carrier_client.ring(number["did_number"])
        return carrier_client

    def _carrier_client(self, call: Any, state: str = "") -> RetryingCarrierClient:
        return RetryingCarrierClient(self.server, self.adapter, self.port, call, state)

    def place_call(self) -> str:
        """Make VCA place an outbound call; return its id."""
        body = {"to": fresh_number(), "from_phone_number_id": self.tenant.plain_number["id"]}
        headers = {
            "Authorization": f"Bearer {self.tenant.tenant.key}",
            "Content-Type": "application/json",
            "Idempotency-Key": uuid4().hex,
        }
        response_body = post(self.port, self.tenant.calls_url, json.dumps(body), headers)
        return str(response_body["id"])

    def await_dialled(self, call_id: str) -> RetryingCarrierClient | None:
        """Wait until an outbound call rings; return the carrier's side, or None if it failed."""
        reference = call_id.replace("-", "")
        ends_at = time.monotonic() + 2 * END_WITHIN_S
        while time.monotonic() < ends_at:
            call = self.server.await_dialled(reference, _POLL_EVERY_S)
            if call is not None:
                return self._carrier_client(call, call.state)
            row = self.tenant.find_call(call_id)
            if row is not None and row.ended_at is not None:
                return None
        return None


def inbound(context: ScenarioContext, result: CallResult) -> str:
    """Play an inbound call with two turns; the caller hangs up."""
    carrier_client = context.ring(context.tenant.plain_number)
    return _hold_conversation(carrier_client, result)


def lost_hangup(context: ScenarioContext, result: CallResult) -> str:
    """Play the same call, but the event of the hang-up gets lost."""
    carrier_client = context.ring(context.tenant.plain_number)
    return _hold_conversation(carrier_client, result, send_event=False)


def recorded(context: ScenarioContext, result: CallResult) -> str:
    """Play the same call on a number that records."""
    carrier_client = context.ring(context.tenant.recorded_number)
    result.expect(carrier_client.call.is_recorded, "no recording was started")
    return _hold_conversation(carrier_client, result)


def transfer(context: ScenarioContext, result: CallResult) -> str:
    """Play a call with an unanswered transfer; the agent says so and the caller hangs up."""
    carrier_client = context.ring(context.tenant.plain_number)
    carrier_client.say("Please connect me with sales.")
    result.expect(
        carrier_client.last_action == "transfer",
        f"expected a transfer, got {carrier_client.actions}",
    )
    carrier_client.end_leg("no_answer")
    result.expect(
        carrier_client.last_action == "listen",
        f"the agent did not continue: {carrier_client.actions}",
    )
    result.expect(
        "nobody" in carrier_client.spoken_texts[-1],
        f"the caller heard only {carrier_client.spoken_texts}",
    )
    carrier_client.hang_up()
    return carrier_client.call.provider_call_id


def outbound(context: ScenarioContext, result: CallResult) -> str:
    """Play an outbound call: the callee answers, speaks and hangs up."""
    call_id = context.place_call()
    carrier_client = context.await_dialled(call_id)
    if carrier_client is None:
        result.dialled = False
        return call_id
    carrier_client.answer()
    _hold_conversation(carrier_client, result)
    result.expect(context.server.dials[call_id.replace("-", "")] == 1, "dialled twice")
    return call_id


def _hold_conversation(
    carrier_client: RetryingCarrierClient, result: CallResult, *, send_event: bool = True
) -> str:
    result.expect(
        carrier_client.last_action == "listen",
        f"expected the agent to listen, got {carrier_client.actions}",
    )
    carrier_client.say("My boiler is broken.")
    carrier_client.say("Jane Miller.")
    result.expect(
        len(carrier_client.spoken_texts) >= 3,
        f"the caller heard only {carrier_client.spoken_texts}",
    )
    carrier_client.hang_up(send_event=send_event)
    return carrier_client.call.provider_call_id


SCENARIOS: dict[str, Callable[[ScenarioContext, CallResult], str]] = {
    scenario.__name__: scenario for scenario in (inbound, outbound, transfer, recorded, lost_hangup)
}


def run_scenario(name: str, context: ScenarioContext) -> CallResult:
    """Play one call and check what is stored of it."""
    result = CallResult(name)
    try:
        call_id = SCENARIOS[name](context, result)
    except NoResponse as error:
        result.problems.append(f"no response: {error}")
        return result
    _await_end(context.tenant, call_id, result)
    return result


def _await_end(tenant: ChaosTenant, call_id: str, result: CallResult) -> None:
    """Wait for the call's end. It has ended at the carrier, so the time limit starts now."""
    started_at = time.monotonic()
    while (row := tenant.find_call(call_id)) is None or row.ended_at is None:
        if time.monotonic() - started_at > END_WITHIN_S:
            result.problems.append(f"not ended after {END_WITHIN_S:.0f} s: {row}")
            return
        time.sleep(_POLL_EVERY_S)
    result.ended_after_s = time.monotonic() - started_at
    if not result.dialled:
        dialled_at = row.dialled_at or row.started_at
        result.ended_after_s = (row.ended_at - dialled_at).total_seconds()
        result.expect(
            result.ended_after_s <= END_WITHIN_S, f"ended {result.ended_after_s:.0f} s late"
        )
        result.expect(
            row.end_reason == "carrier_error", f"not dialled, but ended as {row.end_reason}"
        )
        return
    result.expect(row.end_reason == "caller_hangup", f"ended as {row.end_reason}: {row.end_detail}")
    if result.scenario == "transfer":
        return
    result.expect(
        tenant.speakers(row.id) == _EXPECTED_SPEAKERS,
        f"unexpected speakers: {tenant.speakers(row.id)}",
    )
    if result.scenario == "recorded":
        _await_recording(tenant, row.id, result)


def _await_recording(tenant: ChaosTenant, call_id: Any, result: CallResult) -> None:
    started_at = time.monotonic()
    while (recording := tenant.recording_status(call_id)) != _STORED:
        if time.monotonic() - started_at > FETCHED_WITHIN_S:
            result.problems.append(f"the recording is {recording}")
            return
        time.sleep(_POLL_EVERY_S)
