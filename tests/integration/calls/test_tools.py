"""Tool calls of an agent: transfers, messages, the fallback number and hang-ups."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from tests.fakes.hostile_model import TOOL_CALLS, transfer
from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord
from tests.support.carrier_client import CALLER, CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services
from vca.conversation.llm import ModelError
from vca.kit import clock, json
from vca.observability import log
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import call_tokens, record
from vca.tenant.calls.core.call_transfer import OnFailure
from vca.tenant.calls.core.models import OutboundLeg
from vca.tenant.calls.turns import transfers

ScriptModel = Callable[..., SequenceModel]
TOOLS = ["end_call", "transfer", "take_message", "fallback"]
UNREACHED_TEXT = "nobody could be reached"


@pytest.fixture
def sales_number() -> str:
    """Return the number of the transfer target."""
    return fresh_number()


@pytest.fixture
def fallback_number() -> str:
    """Return the fallback number of acme's number."""
    return fresh_number()


@pytest.fixture
def state(
    carrier_client: CarrierClient, acme: Tenant, sales_number: str, fallback_number: str
) -> str:
    """Return the state token of a live call whose agent has all tools."""
    targets = {"sales": {"number": sales_number, "description": "buys"}}
    acme.profile(greeting="Acme here.", tools=TOOLS, transfer_targets=targets)
    number = acme.number(fallback_number=fallback_number)["did_number"]
    return str(carrier_client.ring(number, "call-1")["state"])


def _list_legs(tenant: Tenant) -> list[tuple[str, str]]:
    with tenant_session(tenant.ref, database=app_services().database) as session:
        query = select(OutboundLeg).order_by(OutboundLeg.created_at)
        return [(leg.kind, leg.number) for leg in session.scalars(query)]


def _start_transfer(state: str, on_failure: OnFailure) -> None:
    """Start a transfer to sales without a tool call of the agent."""
    ref = call_tokens.verify_state(state, services=app_services()).ref
    with tenant_session(ref.tenant, database=app_services().database) as session:
        context = record.lock_call_context(session, ref.call_id)
        transfers.start_transfer(
            session,
            ref,
            context,
            target="sales",
            now=clock.now(),
            on_failure=on_failure,
            services=app_services(),
        )


# --- Transfers ---


def test_a_caller_is_transferred_to_a_named_target(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    state: str,
    sales_number: str,
) -> None:
    script_model(["I connect you with sales.", transfer("sales")])

    response = carrier_client.say("call-1", state, "Sales, please.")

    assert action_types(response) == ["say", "transfer"]
    assert response["actions"][1] == {"type": "transfer", "number": sales_number, "timeout_s": 25}
    assert call_record.end_state == ("transferring", None)
    assert _list_legs(call_record.tenant) == [("transfer", sales_number)]


def test_the_end_of_an_answered_transfer_ends_the_call(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model([transfer("sales")])
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]

    responses = [
        carrier_client.send_event("leg", "call-1", state, outcome="answered") for _ in range(2)
    ]

    assert [action_types(response) for response in responses] == [["hang_up"]] * 2
    assert call_record.end_state == ("completed", "transferred")


@pytest.mark.parametrize("outcome", ["busy", "no_answer", "cancelled", "failed"])
def test_after_a_failed_transfer_the_agent_says_so_and_continues(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    state: str,
    outcome: str,
) -> None:
    model = script_model([transfer("sales")], ["At nine."])
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]

    leg_response = carrier_client.send_event("leg", "call-1", state, outcome=outcome)
    next_response = carrier_client.say("call-1", leg_response["state"], "When are they in?")

    assert action_types(leg_response) == ["say", "listen"]
    assert UNREACHED_TEXT in spoken_text(leg_response)
    assert spoken_text(next_response) == "At nine."
    assert call_record.end_state == ("in_progress", None)
    assert any(UNREACHED_TEXT in message.text for message in model.requests[-1].messages)


def test_a_repeated_leg_event_gets_the_same_response_and_is_stored_once(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model([transfer("sales")])
    state = carrier_client.say("call-1", state, "Sales, please.")["state"]

    first, repeated = (
        carrier_client.send_event("leg", "call-1", state, outcome="busy") for _ in range(2)
    )

    assert first == repeated
    assert sum(UNREACHED_TEXT in line for line in call_record.transcript) == 1


def test_after_a_failed_transfer_the_agent_may_offer_to_take_a_message(
    carrier_client: CarrierClient, call_record: CallRecord, state: str
) -> None:
    _start_transfer(state, "message")

    response = carrier_client.send_event("leg", "call-1", state, outcome="no_answer")

    assert action_types(response) == ["say", "listen"]
    assert "May I take a message?" in spoken_text(response)
    assert call_record.end_state == ("in_progress", None)


def test_a_failed_transfer_may_forward_to_the_fallback_number(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    state: str,
    sales_number: str,
    fallback_number: str,
) -> None:
    _start_transfer(state, "fallback")

    first, repeated = (
        carrier_client.send_event("leg", "call-1", state, outcome="busy") for _ in range(2)
    )

    assert (
        first["actions"] == repeated["actions"] == [{"type": "forward", "number": fallback_number}]
    )
    assert call_record.end_state == ("completed", "transferred")
    assert _list_legs(call_record.tenant) == [
        ("transfer", sales_number),
        ("forward", fallback_number),
    ]


def test_without_a_fallback_number_a_failed_transfer_returns_to_the_agent(
    carrier_client: CarrierClient, acme: Tenant, world: Factory, state: str
) -> None:
    world.sql(acme, "UPDATE phone_numbers SET fallback_number = NULL")
    _start_transfer(state, "fallback")

    response = carrier_client.send_event("leg", "call-1", state, outcome="busy")

    assert action_types(response) == ["say", "listen"]


def test_a_transfer_that_the_dialling_policy_rejects_is_not_dialled(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    world: Factory,
    state: str,
) -> None:
    world.sql(call_record.tenant, "UPDATE settings SET dialling_frozen_at = now()")
    script_model(["I connect you.", transfer("sales")], ["Sorry."])

    response = carrier_client.say("call-1", state, "Sales, please.")
    next_response = carrier_client.say("call-1", response["state"], "Oh.")

    assert action_types(response) == ["say", "say", "listen"]
    assert UNREACHED_TEXT in spoken_text(response)
    assert spoken_text(next_response) == "Sorry."
    assert _list_legs(call_record.tenant) == []
    assert call_record.end_state == ("in_progress", None)


def test_a_repeated_transfer_request_creates_one_leg(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    state: str,
    sales_number: str,
) -> None:
    script_model(["One moment.", transfer("sales")])

    first, repeated = (carrier_client.say("call-1", state, "Sales, please.") for _ in range(2))

    assert first["actions"] == repeated["actions"]
    assert _list_legs(call_record.tenant) == [("transfer", sales_number)]


# --- Messages, the fallback number, hang-ups ---


def test_a_message_is_stored_once_and_the_call_continues(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model(["I have noted that.", TOOL_CALLS["take_message"]])

    responses = [carrier_client.say("call-1", state, "Tell them.") for _ in range(2)]

    assert [action_types(response) for response in responses] == [["say", "listen"]] * 2
    [message] = call_record.messages
    assert (message["kind"], message["name"], message["reason"]) == ("message", "A", "R")
    assert (message["caller_number"], message["call_id"]) == (CALLER, call_record.call["id"])


def test_a_message_is_stored_before_the_agent_hangs_up(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model([TOOL_CALLS["end_call"], TOOL_CALLS["take_message"], "Goodbye."])

    response = carrier_client.say("call-1", state, "Tell them, bye.")

    assert action_types(response) == ["say", "hang_up"]
    assert len(call_record.messages) == 1
    assert call_record.end_state == ("completed", "agent_hangup")


def test_a_repeated_request_forwards_to_the_fallback_number_once(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    state: str,
    fallback_number: str,
) -> None:
    script_model(["I pass you on.", TOOL_CALLS["fallback"]])

    first, repeated = (carrier_client.say("call-1", state, "A person!") for _ in range(2))

    assert first["actions"] == repeated["actions"]
    assert first["actions"][-1] == {"type": "forward", "number": fallback_number}
    assert call_record.end_state == ("completed", "transferred")
    assert _list_legs(call_record.tenant) == [("forward", fallback_number)]


def test_a_fallback_number_that_the_dialling_policy_rejects_ends_the_call(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    world: Factory,
    state: str,
) -> None:
    world.sql(call_record.tenant, "UPDATE settings SET dialling_frozen_at = now()")
    script_model(["I pass you on.", TOOL_CALLS["fallback"]])

    response = carrier_client.say("call-1", state, "A person!")

    assert action_types(response) == ["say", "say", "hang_up"]
    assert "that did not work" in spoken_text(response)
    assert call_record.end_state == ("completed", "agent_hangup")
    assert _list_legs(call_record.tenant) == []


def test_the_agent_may_hang_up(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model(["Goodbye.", TOOL_CALLS["end_call"]])

    first, repeated = (carrier_client.say("call-1", state, "Bye.") for _ in range(2))

    assert first["actions"] == repeated["actions"]
    assert action_types(first) == ["say", "hang_up"]
    assert call_record.end_state == ("completed", "agent_hangup")


def test_a_model_failure_is_logged_and_forwards_to_the_fallback_number(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    state: str,
    fallback_number: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = ModelError(
        "away",
        failure="refused",
        permanent=True,
        server_status=401,
        server_code="invalid_api_key",
    )
    script_model([error])
    log.configure("info")

    response = carrier_client.say("call-1", state, "Hello?")

    entries = [json.loads(entry) for entry in capsys.readouterr().out.splitlines()]
    error_fields = {"failure": "refused", "server_status": 401, "server_code": "invalid_api_key"}
    for event in ("model.failed", "call.model_failed"):
        [entry] = [entry for entry in entries if entry["event"] == event]
        assert entry.items() >= error_fields.items()
    assert action_types(response) == ["say", "forward"]
    assert response["actions"][1]["number"] == fallback_number
    assert call_record.end_state == ("completed", "model_error")
    assert call_record.call["end_detail"] == "401 invalid_api_key"
