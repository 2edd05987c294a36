"""What an agent does in a call: connects, takes a message, hands over, hangs up."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from tests.fakes.hostile_model import TOOL_CALLS, transfer
from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord
from tests.support.carrier_client import CALLER, CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Tenant, fresh_number
from vca.conversation.llm import ModelError
from vca.kit import clock, json
from vca.observability import log
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record as rows
from vca.tenant.calls.core.call_services import current_services
from vca.tenant.calls.core.models import OutboundLeg
from vca.tenant.calls.turns import transfers
from vca.tenant.calls.turns.transfers import OnFailure

Says = Callable[..., SequenceModel]
TOOLS = ["end_call", "transfer", "take_message", "fallback"]
NOBODY = "nobody could be reached"


@pytest.fixture
def sales_number() -> str:
    """The number behind the name."""
    return fresh_number()


@pytest.fixture
def fallback_number() -> str:
    """The fallback number of acme's number."""
    return fresh_number()


@pytest.fixture
def state(
    carrier_client: CarrierClient, acme: Tenant, sales_number: str, fallback_number: str
) -> str:
    """The token of a live call whose agent may do everything."""
    targets = {"sales": {"number": sales_number, "description": "buys"}}
    acme.profile(greeting="Acme here.", tools=TOOLS, transfer_targets=targets)
    answer = carrier_client.ring(
        acme.number(fallback_number=fallback_number)["did_number"], "call-1"
    )
    return str(answer["state"])


def _legs(tenant: Tenant) -> list[tuple[str, str]]:
    with tenant_session(tenant.ref) as session:
        legs = select(OutboundLeg).order_by(OutboundLeg.created_at)
        return [(leg.kind, leg.number) for leg in session.scalars(legs)]


def _transfer(state: str, on_failure: OnFailure) -> None:
    """Somebody else than the agent has the call connected with sales."""
    ref = current_services().verify_state(state).ref
    with tenant_session(ref.tenant) as session:
        talk = rows.lock_call_context(session, ref.call_id)
        transfers.start_transfer(
            session, ref, talk, target="sales", now=clock.now(), on_failure=on_failure
        )


# --- Transfers ----------------------------------------------------------------------------------


def test_a_caller_is_connected_with_a_named_target(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: Says,
    state: str,
    sales_number: str,
) -> None:
    script_model(["I connect you with sales.", transfer("sales")])

    answer = carrier_client.say("call-1", state, "Sales, please.")

    assert action_types(answer) == ["say", "transfer"]
    assert answer["actions"][1] == {"type": "transfer", "number": sales_number, "timeout_s": 25}
    assert call_record.end_state == ("transferring", None)
    assert _legs(call_record.tenant) == [("transfer", sales_number)]


def test_a_transfer_that_is_answered_ends_the_call_when_it_is_over(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    script_model([transfer("sales")])
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]

    over = [carrier_client.send_event("leg", "call-1", state, outcome="answered") for _ in range(2)]

    assert [action_types(answer) for answer in over] == [["hang_up"]] * 2
    assert call_record.end_state == ("completed", "transferred")


@pytest.mark.parametrize("outcome", ["busy", "no_answer", "cancelled", "failed"])
def test_a_transfer_that_reaches_nobody_brings_the_agent_back_who_says_so(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: Says,
    state: str,
    outcome: str,
) -> None:
    model = script_model([transfer("sales")], ["At nine."])
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]

    back = carrier_client.send_event("leg", "call-1", state, outcome=outcome)
    then = carrier_client.say("call-1", back["state"], "When are they in?")

    assert action_types(back) == ["say", "listen"]
    assert NOBODY in spoken_text(back)
    assert spoken_text(then) == "At nine."
    assert call_record.end_state == ("in_progress", None)
    assert any(NOBODY in message.text for message in model.requests[-1].messages)


def test_a_leg_whose_end_is_told_twice_is_told_to_the_caller_twice_and_recorded_once(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    script_model([transfer("sales")])
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]

    first, again = (
        carrier_client.send_event("leg", "call-1", state, outcome="busy") for _ in range(2)
    )

    assert first == again
    assert sum(NOBODY in line for line in call_record.transcript) == 1


def test_a_failed_transfer_may_offer_to_take_a_message(
    carrier_client: CarrierClient, call_record: CallRecord, state: str
) -> None:
    _transfer(state, "message")

    back = carrier_client.send_event("leg", "call-1", state, outcome="no_answer")

    assert action_types(back) == ["say", "listen"]
    assert "May I take a message?" in spoken_text(back)
    assert call_record.end_state == ("in_progress", None)


def test_a_failed_transfer_may_go_to_the_fallback_number(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    state: str,
    sales_number: str,
    fallback_number: str,
) -> None:
    _transfer(state, "fallback")

    away, again = (
        carrier_client.send_event("leg", "call-1", state, outcome="busy") for _ in range(2)
    )

    assert away["actions"] == again["actions"] == [{"type": "forward", "number": fallback_number}]
    assert call_record.end_state == ("completed", "transferred")
    assert _legs(call_record.tenant) == [("transfer", sales_number), ("forward", fallback_number)]


def test_without_a_fallback_number_a_failed_transfer_comes_back_to_the_agent(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, state: str
) -> None:
    world.sql(acme, "UPDATE phone_numbers SET fallback_number = NULL")
    _transfer(state, "fallback")

    back = carrier_client.send_event("leg", "call-1", state, outcome="busy")

    assert action_types(back) == ["say", "listen"]


def test_a_transfer_that_the_policy_refuses_is_never_dialled_and_the_agent_says_so(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: Says,
    world: Factory,
    state: str,
) -> None:
    world.sql(call_record.tenant, "UPDATE settings SET dialling_frozen_at = now()")
    script_model(["I connect you.", transfer("sales")], ["Sorry."])

    answer = carrier_client.say("call-1", state, "Sales, please.")
    then = carrier_client.say("call-1", answer["state"], "Oh.")

    assert action_types(answer) == ["say", "say", "listen"]
    assert NOBODY in spoken_text(answer)
    assert spoken_text(then) == "Sorry."
    assert _legs(call_record.tenant) == []
    assert call_record.end_state == ("in_progress", None)


def test_the_same_request_for_a_transfer_counts_one_leg(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: Says,
    state: str,
    sales_number: str,
) -> None:
    script_model(["One moment.", transfer("sales")])

    first, again = (carrier_client.say("call-1", state, "Sales, please.") for _ in range(2))

    assert first["actions"] == again["actions"]
    assert _legs(call_record.tenant) == [("transfer", sales_number)]


# --- Messages, the fallback number, the end ------------------------------------------------------


def test_a_message_is_taken_and_the_call_goes_on(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    script_model(["I have noted that.", TOOL_CALLS["take_message"]])

    answers = [carrier_client.say("call-1", state, "Tell them.") for _ in range(2)]

    assert [action_types(answer) for answer in answers] == [["say", "listen"]] * 2
    [message] = call_record.messages
    assert (message["kind"], message["name"], message["reason"]) == ("message", "A", "R")
    assert (message["caller_number"], message["call_id"]) == (CALLER, call_record.call["id"])


def test_a_message_is_taken_before_the_agent_hangs_up(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    script_model([TOOL_CALLS["end_call"], TOOL_CALLS["take_message"], "Goodbye."])

    answer = carrier_client.say("call-1", state, "Tell them, bye.")

    assert action_types(answer) == ["say", "hang_up"]
    assert len(call_record.messages) == 1
    assert call_record.end_state == ("completed", "agent_hangup")


def test_a_caller_is_sent_to_the_fallback_number_once_though_the_carrier_asks_twice(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: Says,
    state: str,
    fallback_number: str,
) -> None:
    script_model(["I pass you on.", TOOL_CALLS["fallback"]])

    first, again = (carrier_client.say("call-1", state, "A person!") for _ in range(2))

    assert first["actions"] == again["actions"]
    assert first["actions"][-1] == {"type": "forward", "number": fallback_number}
    assert call_record.end_state == ("completed", "transferred")
    assert _legs(call_record.tenant) == [("forward", fallback_number)]


def test_a_fallback_number_that_the_policy_refuses_ends_the_call(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: Says,
    world: Factory,
    state: str,
) -> None:
    world.sql(call_record.tenant, "UPDATE settings SET dialling_frozen_at = now()")
    script_model(["I pass you on.", TOOL_CALLS["fallback"]])

    answer = carrier_client.say("call-1", state, "A person!")

    assert action_types(answer) == ["say", "hang_up"]
    assert call_record.end_state == ("completed", "agent_hangup")
    assert _legs(call_record.tenant) == []


def test_an_agent_hangs_up(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    script_model(["Goodbye.", TOOL_CALLS["end_call"]])

    first, again = (carrier_client.say("call-1", state, "Bye.") for _ in range(2))

    assert first["actions"] == again["actions"]
    assert action_types(first) == ["say", "hang_up"]
    assert call_record.end_state == ("completed", "agent_hangup")


def test_a_model_that_fails_sends_the_caller_to_the_fallback_number_and_the_log_says_why(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: Says,
    state: str,
    fallback_number: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = ModelError(
        "away",
        failure="refused",
        permanent=True,
        server_status=401,
        server_code="invalid_api_key",
    )
    script_model([refused])
    log.configure("info")

    answer = carrier_client.say("call-1", state, "Hello?")

    entries = [json.loads(entry) for entry in capsys.readouterr().out.splitlines()]
    why = {"failure": "refused", "server_status": 401, "server_code": "invalid_api_key"}
    for event in ("model.failed", "call.model_failed"):
        [entry] = [entry for entry in entries if entry["event"] == event]
        assert entry.items() >= why.items()
    assert action_types(answer) == ["say", "forward"]
    assert answer["actions"][1]["number"] == fallback_number
    assert call_record.end_state == ("completed", "model_error")
