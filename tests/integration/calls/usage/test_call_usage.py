"""Usage of calls. Repeated and reordered events are counted once."""

from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.hostile_model import transfer
from tests.integration.calls.usage.conftest import GREETING, ScriptModel
from tests.support.call_times import age_calls
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services
from tests.support.usage import total_quantities, usage_facts
from vca.conversation.llm import ToolCall
from vca.conversation.types import Tokens
from vca.kit import clock
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import CallRef


def _time_from_now(seconds: float) -> str:
    """Return the time `seconds` after now; a negative value is before now."""
    return (clock.now() + timedelta(seconds=seconds)).isoformat()


def test_a_call_uses_seconds_spoken_characters_and_model_tokens(
    carrier_client: CarrierClient,
    acme: Tenant,
    globex: Tenant,
    world: Factory,
    number: str,
    script_model: ScriptModel,
) -> None:
    script_model(["At nine."], tokens=Tokens(40, 7))
    state = carrier_client.ring(number, "call-1")["state"]
    age_calls(world, acme, 60)
    carrier_client.say("call-1", state, "When do you open?")

    carrier_client.send_status("call-1", "completed", state=state, at=_time_from_now(-0.5))

    assert total_quantities(acme) == {
        "agent": 60,
        "speech_seconds": 60,
        "speech_characters": len(GREETING) + len("At nine."),
        "model_input_tokens": 40,
        "model_output_tokens": 7,
    }
    [call] = acme.get("/calls").json
    assert {str(fact["call_id"]) for fact in usage_facts(acme)} == {call["id"]}
    assert {str(fact["phone_number_id"]) for fact in usage_facts(acme)} == {call["phone_number_id"]}
    assert usage_facts(globex) == []


def test_a_started_second_counts_in_full_and_a_future_end_is_ignored(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    state = carrier_client.ring(number, "call-1")["state"]

    carrier_client.send_status("call-1", "completed", state=state, at="2099-11-22T18:02:00+00:00")

    assert total_quantities(acme)["agent"] == 1


def test_a_simulation_uses_simulated_tokens_only(
    acme: Tenant, number: str, script_model: ScriptModel
) -> None:
    script_model(["At nine."], tokens=Tokens(40, 7))
    call = acme.simulate(number)
    acme.say(call["call_id"], "When do you open?")

    acme.post(f"/calls/{call['call_id']}/hangup")

    assert total_quantities(acme) == {"simulated_tokens": 47}


def test_a_call_that_no_agent_answers_uses_nothing(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    acme.patch(f"/phone-numbers/{acme.get('/phone-numbers').json[0]['id']}", {"mode": "closed"})
    carrier_client.ring(number, "call-1")
    carrier_client.send_status("call-1", "completed", state=None, to=number, at=_time_from_now(8))

    assert usage_facts(acme) == []


def test_tokens_of_the_post_call_analysis_are_counted(
    carrier_client: CarrierClient,
    acme: Tenant,
    world: Factory,
    number: str,
    script_model: ScriptModel,
) -> None:
    script_model(["At nine."], tokens=Tokens(40, 7))
    state = carrier_client.ring(number, "call-1")["state"]
    carrier_client.say("call-1", state, "When do you open?")
    carrier_client.send_status("call-1", "completed", state=state)
    analysis = ToolCall("note_call", '{"summary": "Asked when.", "outcome": "resolved"}')
    script_model([analysis], tokens=Tokens(300, 20))

    assert "calls.analyse" in world.run_jobs(acme)

    totals = total_quantities(acme)
    assert (totals["model_input_tokens"], totals["model_output_tokens"]) == (340, 27)


# --- Legs ---


def test_an_answered_transfer_lasts_until_the_call_ends(
    carrier_client: CarrierClient,
    acme: Tenant,
    world: Factory,
    number: str,
    script_model: ScriptModel,
) -> None:
    script_model([transfer("sales")])
    state = carrier_client.ring(number, "call-1")["state"]
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]
    transferred_at = datetime.fromisoformat(_time_from_now(-120))
    world.sql(acme, f"UPDATE calls SET transfer['started_at'] = '\"{transferred_at.isoformat()}\"'")

    for _ in range(2):
        carrier_client.send_event("leg", "call-1", state, outcome="answered")

    assert total_quantities(acme)["transfer"] in (120, 121)
    # The transfer started before the call was answered, so the agent did not listen.
    assert "speech_seconds" not in total_quantities(acme)


def test_a_transfer_event_after_the_hang_up_is_counted(
    carrier_client: CarrierClient,
    acme: Tenant,
    world: Factory,
    number: str,
    script_model: ScriptModel,
) -> None:
    script_model([transfer("sales")])
    state = carrier_client.ring(number, "call-1")["state"]
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]
    age_calls(world, acme, 150)
    transferred_at = datetime.fromisoformat(_time_from_now(-120))
    world.sql(acme, f"UPDATE calls SET transfer['started_at'] = '\"{transferred_at.isoformat()}\"'")
    ended_at = (transferred_at + timedelta(seconds=90)).isoformat()
    carrier_client.send_status("call-1", "completed", state=state, at=ended_at)
    assert "transfer" not in total_quantities(acme)

    for _ in range(2):
        carrier_client.send_event("leg", "call-1", state, outcome="answered")

    assert total_quantities(acme)["transfer"] == 90


def test_speech_seconds_end_with_the_transfer(
    carrier_client: CarrierClient,
    acme: Tenant,
    world: Factory,
    number: str,
    script_model: ScriptModel,
) -> None:
    script_model([transfer("sales")])
    now = clock.now()
    state = carrier_client.ring(number, "call-1")["state"]
    age_calls(world, acme, 150)
    transferred_at, ended_at = ((now - timedelta(seconds=age_s)).isoformat() for age_s in (120, 30))
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]
    world.sql(acme, f"UPDATE calls SET transfer['started_at'] = '\"{transferred_at}\"'")
    carrier_client.send_status("call-1", "completed", state=state, at=ended_at)
    assert total_quantities(acme)["speech_seconds"] == 120

    for _ in range(2):
        carrier_client.send_event("leg", "call-1", state, outcome="answered")

    assert (total_quantities(acme)["agent"], total_quantities(acme)["transfer"]) == (120, 90)
    assert total_quantities(acme)["speech_seconds"] == 30


@pytest.mark.parametrize("outcome", ["busy", "no_answer", "failed"])
def test_a_failed_transfer_uses_nothing(
    carrier_client: CarrierClient,
    acme: Tenant,
    number: str,
    script_model: ScriptModel,
    outcome: str,
) -> None:
    script_model([transfer("sales")])
    state = carrier_client.ring(number, "call-1")["state"]
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]
    state = carrier_client.send_event("leg", "call-1", state, outcome=outcome)["state"]

    carrier_client.send_status("call-1", "completed", state=state)

    assert "transfer" not in total_quantities(acme)


def test_a_forward_lasts_until_the_carrier_reports_its_end(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, number: str
) -> None:
    world.sql(acme, "UPDATE phone_numbers SET mode = 'forward'")
    carrier_client.ring(number, "call-1")
    world.sql(acme, "UPDATE calls SET created_at = created_at - interval '1 hour'")
    world.sql(acme, "UPDATE outbound_legs SET created_at = created_at - interval '100 seconds'")
    assert usage_facts(acme) == []

    for _ in range(2):
        carrier_client.send_status(
            "call-1", "completed", state=None, to=number, at=_time_from_now(0)
        )

    assert total_quantities(acme)["forward"] in (100, 101)
    assert len(usage_facts(acme)) == 1


def test_an_outbound_call_is_counted_as_its_own_leg(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, number: str
) -> None:
    phone_number = acme.get("/phone-numbers").json[0]
    body = {"to": fresh_number(), "from_phone_number_id": phone_number["id"]}
    call = acme.post("/calls", body).json
    world.run_jobs(acme)
    provider_call_id = acme.get(f"/calls/{call['id']}").json["provider_call_id"]
    state = _sign_state(acme, call)
    carrier_client.send_event("answered", provider_call_id, state)

    carrier_client.send_status(provider_call_id, "completed", state=state)

    assert total_quantities(acme)["call"] == 1
    assert "agent" not in total_quantities(acme)


def _sign_state(tenant: Tenant, call: dict[str, Any]) -> str:
    """Return the state token of a call."""
    return call_tokens.sign_state(
        CallState(CallRef(tenant.ref, UUID(call["id"])), provider_call_id=None, turns=0),
        services=app_services(),
    )


# --- Repeated and reordered events ---


def test_repeated_events_do_not_change_the_usage(
    carrier_client: CarrierClient, acme: Tenant, number: str, script_model: ScriptModel
) -> None:
    script_model(["At nine."], tokens=Tokens(40, 7))
    ring_request = carrier_client.build_request(
        "voice", call_id="call-1", to=number, **{"from": None}
    )
    state = carrier_client.send(ring_request).json["state"]
    requests = [
        carrier_client.build_request(
            "status", call_id="call-1", state=state, status="ringing", at=_time_from_now(-70)
        ),
        carrier_client.build_request(
            "status", call_id="call-1", state=state, status="answered", at=_time_from_now(-60)
        ),
        carrier_client.build_request(
            "speech", call_id="call-1", state=state, text="When do you open?"
        ),
        carrier_client.build_request(
            "status", call_id="call-1", state=state, status="completed", at=_time_from_now(-1)
        ),
    ]
    for request in requests:
        carrier_client.send(request)
    facts_before, report_before = usage_facts(acme), acme.get("/usage").json

    repetitions = [ring_request, *requests] * 2
    Random(4).shuffle(repetitions)
    for request in repetitions:
        carrier_client.send(request)

    assert usage_facts(acme) == facts_before
    assert acme.get("/usage").json == report_before


# Statuses of one call, each with its time in seconds from now.
_STATUSES = (
    ("ringing", -90),
    ("answered", -80),
    ("answered", -75),
    ("completed", -20),
    ("failed", -30),
    ("no_answer", -25),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([*_STATUSES, *_STATUSES]))
def test_the_usage_of_a_call_does_not_depend_on_the_order_of_events(
    carrier_client: CarrierClient, world: Factory, order: list[tuple[str, int]]
) -> None:
    tenant = world.tenant()
    tenant.profile(greeting=GREETING)
    call_id = fresh_number()
    now = clock.now()
    state = carrier_client.ring(tenant.number()["did_number"], call_id)["state"]
    age_calls(world, tenant, 80)

    for status, offset_s in order:
        event_at = (now + timedelta(seconds=offset_s)).isoformat()
        carrier_client.send_status(call_id, status, state=state, at=event_at)

    [call] = tenant.get("/calls").json
    assert total_quantities(tenant) == {
        "agent": 50,
        "speech_seconds": 50,
        "speech_characters": len(GREETING),
    }
    assert call["duration_seconds"] == 50
    reversed_keys = {fact["reverses"] for fact in usage_facts(tenant)} - {None}
    assert len(usage_facts(tenant)) == 3 + 2 * len(reversed_keys)
