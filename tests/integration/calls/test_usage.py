"""What calls use: counted once, however often and in whatever order their events come."""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.hostile_model import transfer
from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord
from tests.support.carrier_client import CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.usage import record_usage, total_quantities, usage_facts
from vca.conversation.llm import ToolCall
from vca.conversation.types import Tokens
from vca.kit import clock
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core.call_types import CallRef

Says = Callable[..., SequenceModel]
GREETING = "Acme here."


@pytest.fixture
def number(acme: Tenant) -> str:
    """A number of acme's that an agent answers who knows whom to transfer to."""
    targets = {"sales": {"number": fresh_number(), "description": "buys"}}
    acme.profile(greeting=GREETING, tools=["transfer", "end_call"], transfer_targets=targets)
    found: str = acme.number(fallback_number=fresh_number())["did_number"]
    return found


def _in(seconds: float) -> str:
    return (clock.now() + timedelta(seconds=seconds)).isoformat()


def test_a_call_uses_its_seconds_what_was_spoken_and_the_models_tokens(
    carrier_client: CarrierClient, acme: Tenant, globex: Tenant, number: str, script_model: Says
) -> None:
    script_model(["At nine."], tokens=Tokens(40, 7))
    state = carrier_client.ring(number, "call-1")["state"]
    carrier_client.send_status("call-1", "answered", state=state, at=_in(-60))
    carrier_client.say("call-1", state, "When do you open?")

    carrier_client.send_status("call-1", "completed", state=state, at=_in(-0.5))

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


def test_a_second_that_has_begun_counts_whole_and_a_clock_that_is_ahead_not_at_all(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    state = carrier_client.ring(number, "call-1")["state"]

    carrier_client.send_status("call-1", "completed", state=state, at="2099-11-22T18:02:00+00:00")

    assert total_quantities(acme)["agent"] == 1


def test_a_rehearsal_uses_nothing(acme: Tenant, number: str, script_model: Says) -> None:
    script_model(["At nine."], tokens=Tokens(40, 7))
    call = acme.simulate(number)
    acme.say(call["call_id"], "When do you open?")

    acme.post(f"/calls/{call['call_id']}/hangup")

    assert usage_facts(acme) == []


def test_nobody_pays_for_a_call_that_no_agent_answered(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    acme.patch(f"/phone-numbers/{acme.get('/phone-numbers').json[0]['id']}", {"mode": "closed"})
    carrier_client.ring(number, "call-1")
    carrier_client.send_status("call-1", "completed", state=None, to=number, at=_in(8))

    assert usage_facts(acme) == []


def test_tokens_of_an_analysis_after_the_end_are_counted_too(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, number: str, script_model: Says
) -> None:
    script_model(["At nine."], tokens=Tokens(40, 7))
    state = carrier_client.ring(number, "call-1")["state"]
    carrier_client.say("call-1", state, "When do you open?")
    carrier_client.send_status("call-1", "completed", state=state)
    noted = ToolCall("note_call", '{"summary": "Asked when.", "outcome": "resolved"}')
    script_model([noted], tokens=Tokens(300, 20))

    assert "calls.analyse" in world.run_jobs(acme)

    found = total_quantities(acme)
    assert (found["model_input_tokens"], found["model_output_tokens"]) == (340, 27)


# --- Legs --------------------------------------------------------------------------------------


def test_a_transfer_that_is_answered_lasts_until_the_call_ends(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, number: str, script_model: Says
) -> None:
    script_model([transfer("sales")])
    state = carrier_client.ring(number, "call-1")["state"]
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]
    began = datetime.fromisoformat(_in(-120))
    world.sql(acme, f"UPDATE calls SET transfer['started_at'] = '\"{began.isoformat()}\"'")

    for _ in range(2):
        carrier_client.send_event("leg", "call-1", state, outcome="answered")

    assert total_quantities(acme)["transfer"] in (120, 121)
    assert "speech_seconds" not in total_quantities(
        acme
    )  # he had left before the call was answered


def test_a_transfer_of_which_is_told_after_the_hang_up_is_counted_all_the_same(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, number: str, script_model: Says
) -> None:
    script_model([transfer("sales")])
    state = carrier_client.ring(number, "call-1")["state"]
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]
    began = datetime.fromisoformat(_in(-120))
    world.sql(acme, f"UPDATE calls SET transfer['started_at'] = '\"{began.isoformat()}\"'")
    carrier_client.send_status(
        "call-1", "completed", state=state, at=(began + timedelta(seconds=90)).isoformat()
    )
    assert "transfer" not in total_quantities(acme)

    for _ in range(2):
        carrier_client.send_event("leg", "call-1", state, outcome="answered")

    assert total_quantities(acme)["transfer"] == 90


def test_an_agent_listens_until_somebody_else_has_the_caller(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, number: str, script_model: Says
) -> None:
    script_model([transfer("sales")])
    state = carrier_client.ring(number, "call-1")["state"]
    now = clock.now()
    ago = {seconds: (now - timedelta(seconds=seconds)).isoformat() for seconds in (150, 120, 30)}
    carrier_client.send_status("call-1", "answered", state=state, at=ago[150])
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]
    world.sql(acme, f"UPDATE calls SET transfer['started_at'] = '\"{ago[120]}\"'")
    carrier_client.send_status("call-1", "completed", state=state, at=ago[30])
    assert total_quantities(acme)["speech_seconds"] == 120

    for _ in range(2):
        carrier_client.send_event("leg", "call-1", state, outcome="answered")

    assert (total_quantities(acme)["agent"], total_quantities(acme)["transfer"]) == (120, 90)
    assert total_quantities(acme)["speech_seconds"] == 30


@pytest.mark.parametrize("outcome", ["busy", "no_answer", "failed"])
def test_a_transfer_that_reaches_nobody_uses_nothing(
    carrier_client: CarrierClient, acme: Tenant, number: str, script_model: Says, outcome: str
) -> None:
    script_model([transfer("sales")])
    state = carrier_client.ring(number, "call-1")["state"]
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]
    state = carrier_client.send_event("leg", "call-1", state, outcome=outcome)["state"]

    carrier_client.send_status("call-1", "completed", state=state)

    assert "transfer" not in total_quantities(acme)


def test_a_forward_lasts_until_its_carrier_says_that_it_is_over(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, number: str
) -> None:
    world.sql(acme, "UPDATE phone_numbers SET mode = 'forward'")
    carrier_client.ring(number, "call-1")
    world.sql(acme, "UPDATE calls SET created_at = created_at - interval '1 hour'")
    world.sql(acme, "UPDATE outbound_legs SET created_at = created_at - interval '100 seconds'")
    assert usage_facts(acme) == []

    for _ in range(2):
        carrier_client.send_status("call-1", "completed", state=None, to=number, at=_in(0))

    assert total_quantities(acme)["forward"] in (100, 101)
    assert len(usage_facts(acme)) == 1


def test_an_ordered_call_is_a_leg_of_its_own(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, number: str
) -> None:
    phone_number = acme.get("/phone-numbers").json[0]
    order = {"to": fresh_number(), "from_phone_number_id": phone_number["id"]}
    call = acme.post("/calls", order).json
    world.run_jobs(acme)
    provider_call_id = acme.get(f"/calls/{call['id']}").json["provider_call_id"]
    state = _state_of(acme, call)
    carrier_client.send_event("answered", provider_call_id, state)

    carrier_client.send_status(provider_call_id, "completed", state=state)

    assert total_quantities(acme)["call"] == 1
    assert "agent" not in total_quantities(acme)


def _state_of(tenant: Tenant, call: dict[str, Any]) -> str:
    return call_services.current_services().sign_state(
        CallRef(tenant.ref, UUID(call["id"])), turns=0
    )


# --- Every event twice, in any order ------------------------------------------------------------


def test_every_event_of_a_carrier_again_leaves_the_ledger_as_it_was(
    carrier_client: CarrierClient, acme: Tenant, number: str, script_model: Says
) -> None:
    script_model(["At nine."], tokens=Tokens(40, 7))
    ring = carrier_client.build_request("voice", call_id="call-1", to=number, **{"from": None})
    state = carrier_client.send(ring).json["state"]
    sent = [
        carrier_client.build_request(
            "status", call_id="call-1", state=state, status="ringing", at=_in(-70)
        ),
        carrier_client.build_request(
            "status", call_id="call-1", state=state, status="answered", at=_in(-60)
        ),
        carrier_client.build_request(
            "speech", call_id="call-1", state=state, text="When do you open?"
        ),
        carrier_client.build_request(
            "status", call_id="call-1", state=state, status="completed", at=_in(-1)
        ),
    ]
    for request in sent:
        carrier_client.send(request)
    before, shown = usage_facts(acme), acme.get("/usage").json

    again = [ring, *sent] * 2
    Random(4).shuffle(again)
    for request in again:
        carrier_client.send(request)

    assert usage_facts(acme) == before
    assert acme.get("/usage").json == shown


_TOLD = (
    ("ringing", -90),
    ("answered", -80),
    ("answered", -75),
    ("completed", -20),
    ("failed", -30),
    ("no_answer", -25),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([*_TOLD, *_TOLD]))
def test_in_whatever_order_events_come_a_call_has_used_the_same(
    carrier_client: CarrierClient, world: Factory, order: list[tuple[str, int]]
) -> None:
    tenant = world.tenant()
    tenant.profile(greeting=GREETING)
    state = carrier_client.ring(tenant.number()["did_number"], (name := fresh_number()))["state"]
    now = clock.now()

    for status, ago in order:
        at = (now + timedelta(seconds=ago)).isoformat()
        carrier_client.send_status(name, status, state=state, at=at)

    [call] = tenant.get("/calls").json
    assert total_quantities(tenant) == {
        "agent": 50,
        "speech_seconds": 50,
        "speech_characters": len(GREETING),
    }
    assert call["duration_seconds"] == 50
    reversed_ = {fact["reverses"] for fact in usage_facts(tenant)} - {None}
    assert len(usage_facts(tenant)) == 3 + 2 * len(reversed_)


# --- The spend cap -----------------------------------------------------------------------------


def _spend(tenant: Tenant, cents: int) -> None:
    """A starter's minute is 12 cents, after 100 minutes."""
    record_usage(tenant, 6_000 + cents * 5)


def test_a_call_that_would_begin_over_the_cap_hears_the_tenants_sentence_and_the_fallback(
    carrier_client: CarrierClient,
    acme: Tenant,
    globex: Tenant,
    call_record: CallRecord,
    number: str,
) -> None:
    sentence = "We have talked enough this month."
    acme.patch("/settings", {"spend_cap": 100, "sentences": {"over_limit": sentence}})
    _spend(acme, 100)

    first, again = (carrier_client.ring(number, "call-1") for _ in range(2))

    assert first == again
    assert action_types(first) == ["say", "forward"]
    assert spoken_text(first) == sentence
    assert call_record.end_state == ("failed", "spend_cap")
    assert call_record.call["route"]["rules"][-1]["why"] == "the monthly spend cap is reached"


def test_below_the_cap_a_call_has_its_first_minute_reserved_until_it_ends(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    acme.patch("/settings", {"spend_cap": 100})
    _spend(acme, 90)

    state = carrier_client.ring(number, "call-1")["state"]

    standing = acme.get("/usage").json
    assert (standing["spent"], standing["reserved"], standing["spend_cap"]) == (90, 12, 100)
    assert action_types(carrier_client.ring(number, "call-2")) == ["say", "forward"]
    carrier_client.send_status("call-1", "completed", state=state)
    assert acme.get("/usage").json["reserved"] == 0
    assert action_types(carrier_client.ring(number, "call-3")) == ["say", "listen"]


def test_what_is_included_is_reserved_for_nobody(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    acme.patch("/settings", {"spend_cap": 1})
    record_usage(acme, 6_000 - 90)

    carrier_client.ring(number, "call-1")
    assert acme.get("/usage").json["reserved"] == 0
    carrier_client.ring(number, "call-2")

    assert acme.get("/usage").json["reserved"] == 6  # half a minute


def test_without_a_cap_and_after_it_is_lifted_calls_are_answered(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    _spend(acme, 1_000)
    assert action_types(carrier_client.ring(number, "call-1")) == ["say", "listen"]
    acme.patch("/settings", {"spend_cap": 999})
    assert action_types(carrier_client.ring(number, "call-2")) == ["say", "forward"]

    acme.patch("/settings", {"spend_cap": None})

    assert action_types(carrier_client.ring(number, "call-3")) == ["say", "listen"]


def test_a_rehearsal_is_outside_of_the_cap(acme: Tenant, number: str) -> None:
    acme.patch("/settings", {"spend_cap": 1})
    _spend(acme, 10)

    assert acme.simulate(number)["status"] == "in_progress"


def test_an_ordered_call_over_the_cap_is_refused(
    acme: Tenant, globex: Tenant, number: str, carrier_client: CarrierClient
) -> None:
    acme.patch("/settings", {"spend_cap": 100})
    phone_number = acme.get("/phone-numbers").json[0]
    order = {"to": fresh_number(), "from_phone_number_id": phone_number["id"]}
    _spend(acme, 95)
    assert acme.post("/calls", order).status_code == 202

    refused = acme.post("/calls", order)

    assert (refused.status_code, refused.json["code"]) == (409, "spend-cap-reached")
    assert acme.get("/usage").json["reserved"] == 12


def test_the_route_is_explained_with_the_cap(acme: Tenant, number: str) -> None:
    acme.patch("/settings", {"spend_cap": 100})
    ask = {"to": number}
    assert acme.post("/routing/explain", ask).json["decision"] == "agent"
    _spend(acme, 100)

    explained = acme.post("/routing/explain", ask).json

    assert (explained["decision"], explained["end_reason"]) == ("refused", "spend_cap")
    assert explained["rules"][-1]["rule"] == "limits"


@pytest.mark.parametrize("cap", [0, -1, 1.5, "100", True, 10**12 + 1])
def test_a_cap_is_a_whole_number_of_the_minor_unit(acme: Tenant, cap: Any) -> None:
    refused = acme.patch("/settings", {"spend_cap": cap})

    assert refused.status_code == 400
    assert [error["pointer"] for error in refused.json["errors"]] == ["/spend_cap"]
    assert acme.get("/settings").json["spend_cap"] is None
