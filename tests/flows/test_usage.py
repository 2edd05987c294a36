"""What calls use: counted once, however often and in whatever order their events come."""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.doubles.hostile_model import transfer
from tests.doubles.models import Rehearsed
from tests.flows.conftest import Record
from tests.support.carrier_line import CarrierLine, kinds, words
from tests.support.usage import facts, sums, use
from tests.support.world import Tenant, World, fresh_number
from vca.conversation.llm import ToolCall
from vca.conversation.types import Tokens
from vca.kit import clock
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core.call_types import CallRef

Says = Callable[..., Rehearsed]
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
    line: CarrierLine, acme: Tenant, globex: Tenant, number: str, says: Says
) -> None:
    says(["At nine."], tokens=Tokens(40, 7))
    state = line.ring(number, "call-1")["state"]
    line.status("call-1", "answered", state=state, at=_in(-60))
    line.say("call-1", state, "When do you open?")

    line.status("call-1", "completed", state=state, at=_in(-0.5))

    assert sums(acme) == {
        "agent": 60,
        "speech_seconds": 60,
        "speech_characters": len(GREETING) + len("At nine."),
        "model_input_tokens": 40,
        "model_output_tokens": 7,
    }
    [call] = acme.get("/calls").json
    assert {str(fact["call_id"]) for fact in facts(acme)} == {call["id"]}
    assert {str(fact["phone_number_id"]) for fact in facts(acme)} == {call["phone_number_id"]}
    assert facts(globex) == []


def test_a_second_that_has_begun_counts_whole_and_a_clock_that_is_ahead_not_at_all(
    line: CarrierLine, acme: Tenant, number: str
) -> None:
    state = line.ring(number, "call-1")["state"]

    line.status("call-1", "completed", state=state, at="2099-11-22T18:02:00+00:00")

    assert sums(acme)["agent"] == 1


def test_a_rehearsal_uses_nothing(acme: Tenant, number: str, says: Says) -> None:
    says(["At nine."], tokens=Tokens(40, 7))
    call = acme.simulate(number)
    acme.say(call["call_id"], "When do you open?")

    acme.post(f"/calls/{call['call_id']}/hangup")

    assert facts(acme) == []


def test_nobody_pays_for_a_call_that_no_agent_answered(
    line: CarrierLine, acme: Tenant, number: str
) -> None:
    acme.patch(f"/phone-numbers/{acme.get('/phone-numbers').json[0]['id']}", {"mode": "closed"})
    line.ring(number, "call-1")
    line.status("call-1", "completed", state=None, to=number, at=_in(8))

    assert facts(acme) == []


def test_tokens_of_an_analysis_after_the_end_are_counted_too(
    line: CarrierLine, acme: Tenant, world: World, number: str, says: Says
) -> None:
    says(["At nine."], tokens=Tokens(40, 7))
    state = line.ring(number, "call-1")["state"]
    line.say("call-1", state, "When do you open?")
    line.status("call-1", "completed", state=state)
    noted = ToolCall("note_call", '{"summary": "Asked when.", "outcome": "resolved"}')
    says([noted], tokens=Tokens(300, 20))

    assert "calls.analyse" in world.work(acme)

    found = sums(acme)
    assert (found["model_input_tokens"], found["model_output_tokens"]) == (340, 27)


# --- Legs --------------------------------------------------------------------------------------


def test_a_transfer_that_is_answered_lasts_until_the_call_ends(
    line: CarrierLine, acme: Tenant, world: World, number: str, says: Says
) -> None:
    says([transfer("sales")])
    state = line.ring(number, "call-1")["state"]
    state = line.say("call-1", state, "Sales, please.")["state"]
    began = datetime.fromisoformat(_in(-120))
    world.sql(acme, f"UPDATE calls SET transfer['started_at'] = '\"{began.isoformat()}\"'")

    for _ in range(2):
        line.tell("leg", "call-1", state, outcome="answered")

    assert sums(acme)["transfer"] in (120, 121)
    assert "speech_seconds" not in sums(acme)  # he had left before the call was answered


def test_a_transfer_of_which_is_told_after_the_hang_up_is_counted_all_the_same(
    line: CarrierLine, acme: Tenant, world: World, number: str, says: Says
) -> None:
    says([transfer("sales")])
    state = line.ring(number, "call-1")["state"]
    state = line.say("call-1", state, "Sales, please.")["state"]
    began = datetime.fromisoformat(_in(-120))
    world.sql(acme, f"UPDATE calls SET transfer['started_at'] = '\"{began.isoformat()}\"'")
    line.status("call-1", "completed", state=state, at=(began + timedelta(seconds=90)).isoformat())
    assert "transfer" not in sums(acme)

    for _ in range(2):
        line.tell("leg", "call-1", state, outcome="answered")

    assert sums(acme)["transfer"] == 90


def test_an_agent_listens_until_somebody_else_has_the_caller(
    line: CarrierLine, acme: Tenant, world: World, number: str, says: Says
) -> None:
    says([transfer("sales")])
    state = line.ring(number, "call-1")["state"]
    now = clock.now()
    ago = {seconds: (now - timedelta(seconds=seconds)).isoformat() for seconds in (150, 120, 30)}
    line.status("call-1", "answered", state=state, at=ago[150])
    state = line.say("call-1", state, "Sales, please.")["state"]
    world.sql(acme, f"UPDATE calls SET transfer['started_at'] = '\"{ago[120]}\"'")
    line.status("call-1", "completed", state=state, at=ago[30])
    assert sums(acme)["speech_seconds"] == 120

    for _ in range(2):
        line.tell("leg", "call-1", state, outcome="answered")

    assert (sums(acme)["agent"], sums(acme)["transfer"]) == (120, 90)
    assert sums(acme)["speech_seconds"] == 30


@pytest.mark.parametrize("outcome", ["busy", "no_answer", "failed"])
def test_a_transfer_that_reaches_nobody_uses_nothing(
    line: CarrierLine, acme: Tenant, number: str, says: Says, outcome: str
) -> None:
    says([transfer("sales")])
    state = line.ring(number, "call-1")["state"]
    state = line.say("call-1", state, "Sales, please.")["state"]
    state = line.tell("leg", "call-1", state, outcome=outcome)["state"]

    line.status("call-1", "completed", state=state)

    assert "transfer" not in sums(acme)


def test_a_forward_lasts_until_its_carrier_says_that_it_is_over(
    line: CarrierLine, acme: Tenant, world: World, number: str
) -> None:
    world.sql(acme, "UPDATE phone_numbers SET mode = 'forward'")
    line.ring(number, "call-1")
    world.sql(acme, "UPDATE calls SET created_at = created_at - interval '1 hour'")
    world.sql(acme, "UPDATE outbound_legs SET created_at = created_at - interval '100 seconds'")
    assert facts(acme) == []

    for _ in range(2):
        line.status("call-1", "completed", state=None, to=number, at=_in(0))

    assert sums(acme)["forward"] in (100, 101)
    assert len(facts(acme)) == 1


def test_an_ordered_call_is_a_leg_of_its_own(
    line: CarrierLine, acme: Tenant, world: World, number: str
) -> None:
    phone_number = acme.get("/phone-numbers").json[0]
    order = {"to": fresh_number(), "from_phone_number_id": phone_number["id"]}
    call = acme.post("/calls", order).json
    world.work(acme)
    provider_call_id = acme.get(f"/calls/{call['id']}").json["provider_call_id"]
    state = _state_of(acme, call)
    line.tell("answered", provider_call_id, state)

    line.status(provider_call_id, "completed", state=state)

    assert sums(acme)["call"] == 1
    assert "agent" not in sums(acme)


def _state_of(tenant: Tenant, call: dict[str, Any]) -> str:
    return call_services.current_services().sign_state(
        CallRef(tenant.ref, UUID(call["id"])), turns=0
    )


# --- Every event twice, in any order ------------------------------------------------------------


def test_every_event_of_a_carrier_again_leaves_the_ledger_as_it_was(
    line: CarrierLine, acme: Tenant, number: str, says: Says
) -> None:
    says(["At nine."], tokens=Tokens(40, 7))
    ring = line.request("voice", call_id="call-1", to=number, **{"from": None})
    state = line.send(ring).json["state"]
    sent = [
        line.request("status", call_id="call-1", state=state, status="ringing", at=_in(-70)),
        line.request("status", call_id="call-1", state=state, status="answered", at=_in(-60)),
        line.request("speech", call_id="call-1", state=state, text="When do you open?"),
        line.request("status", call_id="call-1", state=state, status="completed", at=_in(-1)),
    ]
    for request in sent:
        line.send(request)
    before, shown = facts(acme), acme.get("/usage").json

    again = [ring, *sent] * 2
    Random(4).shuffle(again)
    for request in again:
        line.send(request)

    assert facts(acme) == before
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
    line: CarrierLine, world: World, order: list[tuple[str, int]]
) -> None:
    tenant = world.tenant()
    tenant.profile(greeting=GREETING)
    state = line.ring(tenant.number()["did_number"], (name := fresh_number()))["state"]
    now = clock.now()

    for status, ago in order:
        at = (now + timedelta(seconds=ago)).isoformat()
        line.status(name, status, state=state, at=at)

    [call] = tenant.get("/calls").json
    assert sums(tenant) == {
        "agent": 50,
        "speech_seconds": 50,
        "speech_characters": len(GREETING),
    }
    assert call["duration_seconds"] == 50
    reversed_ = {fact["reverses"] for fact in facts(tenant)} - {None}
    assert len(facts(tenant)) == 3 + 2 * len(reversed_)


# --- The spend cap -----------------------------------------------------------------------------


def _spend(tenant: Tenant, cents: int) -> None:
    """A starter's minute is 12 cents, after 100 minutes."""
    use(tenant, 6_000 + cents * 5)


def test_a_call_that_would_begin_over_the_cap_hears_the_tenants_sentence_and_the_fallback(
    line: CarrierLine, acme: Tenant, globex: Tenant, record: Record, number: str
) -> None:
    sentence = "We have talked enough this month."
    acme.patch("/settings", {"spend_cap": 100, "sentences": {"over_limit": sentence}})
    _spend(acme, 100)

    first, again = (line.ring(number, "call-1") for _ in range(2))

    assert first == again
    assert kinds(first) == ["say", "forward"]
    assert words(first) == sentence
    assert record.end == ("failed", "spend_cap")
    assert record.call["route"]["rules"][-1]["why"] == "the spend cap of the month is reached"


def test_below_the_cap_a_call_has_its_first_minute_reserved_until_it_ends(
    line: CarrierLine, acme: Tenant, number: str
) -> None:
    acme.patch("/settings", {"spend_cap": 100})
    _spend(acme, 90)

    state = line.ring(number, "call-1")["state"]

    standing = acme.get("/usage").json
    assert (standing["spent"], standing["reserved"], standing["spend_cap"]) == (90, 12, 100)
    assert kinds(line.ring(number, "call-2")) == ["say", "forward"]
    line.status("call-1", "completed", state=state)
    assert acme.get("/usage").json["reserved"] == 0
    assert kinds(line.ring(number, "call-3")) == ["say", "listen"]


def test_what_is_included_is_reserved_for_nobody(
    line: CarrierLine, acme: Tenant, number: str
) -> None:
    acme.patch("/settings", {"spend_cap": 1})
    use(acme, 6_000 - 90)

    line.ring(number, "call-1")
    assert acme.get("/usage").json["reserved"] == 0
    line.ring(number, "call-2")

    assert acme.get("/usage").json["reserved"] == 6  # half a minute


def test_without_a_cap_and_after_it_is_lifted_calls_are_answered(
    line: CarrierLine, acme: Tenant, number: str
) -> None:
    _spend(acme, 1_000)
    assert kinds(line.ring(number, "call-1")) == ["say", "listen"]
    acme.patch("/settings", {"spend_cap": 999})
    assert kinds(line.ring(number, "call-2")) == ["say", "forward"]

    acme.patch("/settings", {"spend_cap": None})

    assert kinds(line.ring(number, "call-3")) == ["say", "listen"]


def test_a_rehearsal_is_outside_of_the_cap(acme: Tenant, number: str) -> None:
    acme.patch("/settings", {"spend_cap": 1})
    _spend(acme, 10)

    assert acme.simulate(number)["status"] == "in_progress"


def test_an_ordered_call_over_the_cap_is_refused(
    acme: Tenant, globex: Tenant, number: str, line: CarrierLine
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
