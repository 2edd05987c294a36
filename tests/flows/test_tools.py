"""What an agent does in a call: connects, takes a message, hands over, hangs up."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from tests.doubles.hostile_model import CALLS, transfer
from tests.doubles.models import Rehearsed
from tests.flows.conftest import Record
from tests.support.carrier_line import CALLER, CarrierLine, kinds, words
from tests.support.world import Tenant, World, fresh_number
from vca.conversation.llm import ModelError
from vca.kit import clock, json
from vca.observability import log
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record as rows
from vca.tenant.calls.core.call_services import current_services
from vca.tenant.calls.core.models import OutboundLeg
from vca.tenant.calls.turns import transfers
from vca.tenant.calls.turns.transfers import OnFailure

Says = Callable[..., Rehearsed]
TOOLS = ["end_call", "transfer", "take_message", "fallback"]
NOBODY = "nobody could be reached"


@pytest.fixture
def sales() -> str:
    """The number behind the name."""
    return fresh_number()


@pytest.fixture
def guard() -> str:
    """The fallback number of acme's number."""
    return fresh_number()


@pytest.fixture
def state(line: CarrierLine, acme: Tenant, sales: str, guard: str) -> str:
    """The token of a live call whose agent may do everything."""
    targets = {"sales": {"number": sales, "description": "buys"}}
    acme.profile(greeting="Acme here.", tools=TOOLS, transfer_targets=targets)
    answer = line.ring(acme.number(fallback_number=guard)["did_number"], "call-1")
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
    line: CarrierLine, record: Record, says: Says, state: str, sales: str
) -> None:
    says(["I connect you with sales.", transfer("sales")])

    answer = line.say("call-1", state, "Sales, please.")

    assert kinds(answer) == ["say", "transfer"]
    assert answer["actions"][1] == {"type": "transfer", "number": sales, "timeout_s": 25}
    assert record.end == ("transferring", None)
    assert _legs(record.tenant) == [("transfer", sales)]


def test_a_transfer_that_is_answered_ends_the_call_when_it_is_over(
    line: CarrierLine, record: Record, says: Says, state: str
) -> None:
    says([transfer("sales")])
    state = line.say("call-1", state, "Sales, please.")["state"]

    over = [line.tell("leg", "call-1", state, outcome="answered") for _ in range(2)]

    assert [kinds(answer) for answer in over] == [["hang_up"]] * 2
    assert record.end == ("completed", "transferred")


@pytest.mark.parametrize("outcome", ["busy", "no_answer", "cancelled", "failed"])
def test_a_transfer_that_reaches_nobody_brings_the_agent_back_who_says_so(
    line: CarrierLine, record: Record, says: Says, state: str, outcome: str
) -> None:
    model = says([transfer("sales")], ["At nine."])
    state = line.say("call-1", state, "Sales, please.")["state"]

    back = line.tell("leg", "call-1", state, outcome=outcome)
    then = line.say("call-1", back["state"], "When are they in?")

    assert kinds(back) == ["say", "listen"]
    assert NOBODY in words(back)
    assert words(then) == "At nine."
    assert record.end == ("in_progress", None)
    assert any(NOBODY in message.text for message in model.asked[-1].messages)


def test_a_leg_whose_end_is_told_twice_is_told_to_the_caller_twice_and_recorded_once(
    line: CarrierLine, record: Record, says: Says, state: str
) -> None:
    says([transfer("sales")])
    state = line.say("call-1", state, "Sales, please.")["state"]

    first, again = (line.tell("leg", "call-1", state, outcome="busy") for _ in range(2))

    assert first == again
    assert sum(NOBODY in line for line in record.said) == 1


def test_a_failed_transfer_may_offer_to_take_a_message(
    line: CarrierLine, record: Record, state: str
) -> None:
    _transfer(state, "message")

    back = line.tell("leg", "call-1", state, outcome="no_answer")

    assert kinds(back) == ["say", "listen"]
    assert "May I take a message?" in words(back)
    assert record.end == ("in_progress", None)


def test_a_failed_transfer_may_go_to_the_fallback_number(
    line: CarrierLine, record: Record, state: str, sales: str, guard: str
) -> None:
    _transfer(state, "fallback")

    away, again = (line.tell("leg", "call-1", state, outcome="busy") for _ in range(2))

    assert away["actions"] == again["actions"] == [{"type": "forward", "number": guard}]
    assert record.end == ("completed", "transferred")
    assert _legs(record.tenant) == [("transfer", sales), ("forward", guard)]


def test_without_a_fallback_number_a_failed_transfer_comes_back_to_the_agent(
    line: CarrierLine, acme: Tenant, world: World, state: str
) -> None:
    world.sql(acme, "UPDATE phone_numbers SET fallback_number = NULL")
    _transfer(state, "fallback")

    back = line.tell("leg", "call-1", state, outcome="busy")

    assert kinds(back) == ["say", "listen"]


def test_a_transfer_that_the_policy_refuses_is_never_dialled_and_the_agent_says_so(
    line: CarrierLine, record: Record, says: Says, world: World, state: str
) -> None:
    world.sql(record.tenant, "UPDATE settings SET dialling_frozen_at = now()")
    says(["I connect you.", transfer("sales")], ["Sorry."])

    answer = line.say("call-1", state, "Sales, please.")
    then = line.say("call-1", answer["state"], "Oh.")

    assert kinds(answer) == ["say", "say", "listen"]
    assert NOBODY in words(answer)
    assert words(then) == "Sorry."
    assert _legs(record.tenant) == []
    assert record.end == ("in_progress", None)


def test_the_same_request_for_a_transfer_counts_one_leg(
    line: CarrierLine, record: Record, says: Says, state: str, sales: str
) -> None:
    says(["One moment.", transfer("sales")])

    first, again = (line.say("call-1", state, "Sales, please.") for _ in range(2))

    assert first["actions"] == again["actions"]
    assert _legs(record.tenant) == [("transfer", sales)]


# --- Messages, the fallback number, the end ------------------------------------------------------


def test_a_message_is_taken_and_the_call_goes_on(
    line: CarrierLine, record: Record, says: Says, state: str
) -> None:
    says(["I have noted that.", CALLS["take_message"]])

    answers = [line.say("call-1", state, "Tell them.") for _ in range(2)]

    assert [kinds(answer) for answer in answers] == [["say", "listen"]] * 2
    [message] = record.messages
    assert (message["kind"], message["name"], message["reason"]) == ("message", "A", "R")
    assert (message["caller_number"], message["call_id"]) == (CALLER, record.call["id"])


def test_a_message_is_taken_before_the_agent_hangs_up(
    line: CarrierLine, record: Record, says: Says, state: str
) -> None:
    says([CALLS["end_call"], CALLS["take_message"], "Goodbye."])

    answer = line.say("call-1", state, "Tell them, bye.")

    assert kinds(answer) == ["say", "hang_up"]
    assert len(record.messages) == 1
    assert record.end == ("completed", "agent_hangup")


def test_a_caller_is_sent_to_the_fallback_number_once_though_the_carrier_asks_twice(
    line: CarrierLine, record: Record, says: Says, state: str, guard: str
) -> None:
    says(["I pass you on.", CALLS["fallback"]])

    first, again = (line.say("call-1", state, "A person!") for _ in range(2))

    assert first["actions"] == again["actions"]
    assert first["actions"][-1] == {"type": "forward", "number": guard}
    assert record.end == ("completed", "transferred")
    assert _legs(record.tenant) == [("forward", guard)]


def test_a_fallback_number_that_the_policy_refuses_ends_the_call(
    line: CarrierLine, record: Record, says: Says, world: World, state: str
) -> None:
    world.sql(record.tenant, "UPDATE settings SET dialling_frozen_at = now()")
    says(["I pass you on.", CALLS["fallback"]])

    answer = line.say("call-1", state, "A person!")

    assert kinds(answer) == ["say", "hang_up"]
    assert record.end == ("completed", "agent_hangup")
    assert _legs(record.tenant) == []


def test_an_agent_hangs_up(line: CarrierLine, record: Record, says: Says, state: str) -> None:
    says(["Goodbye.", CALLS["end_call"]])

    first, again = (line.say("call-1", state, "Bye.") for _ in range(2))

    assert first["actions"] == again["actions"]
    assert kinds(first) == ["say", "hang_up"]
    assert record.end == ("completed", "agent_hangup")


def test_a_model_that_fails_sends_the_caller_to_the_fallback_number_and_the_log_says_why(
    line: CarrierLine,
    record: Record,
    says: Says,
    state: str,
    guard: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = ModelError(
        "away",
        failure="refused",
        permanent=True,
        server_status=401,
        server_code="invalid_api_key",
    )
    says([refused])
    log.configure("info")

    answer = line.say("call-1", state, "Hello?")

    entries = [json.loads(entry) for entry in capsys.readouterr().out.splitlines()]
    why = {"failure": "refused", "server_status": 401, "server_code": "invalid_api_key"}
    for event in ("model.failed", "call.model_failed"):
        [entry] = [entry for entry in entries if entry["event"] == event]
        assert entry.items() >= why.items()
    assert kinds(answer) == ["say", "forward"]
    assert answer["actions"][1]["number"] == guard
    assert record.end == ("completed", "model_error")
