"""Complete calls with a model that serves an attacker, and with a model that hangs."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from tests.fakes import hostile_model as hostile
from tests.fakes.hostile_model import Behaviour, HostileModel, repeat_forever, transfer
from tests.fakes.models import HangingModel
from tests.integration.calls.conftest import use_model
from tests.support.carrier_client import CarrierClient, action_types
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.model_readers import readers_end
from tests.support.services import app_services, use_services
from vca.conversation.llm import MAX_ARGUMENTS_CHARS, ToolCall
from vca.conversation.llm.models import LatencyPolicy, Models
from vca.kit import json
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks import polled_turn
from vca.tenant.calls.core.models import Call, OutboundLeg

SECRETS = ("globex-prompt", "globex-greeting", "globex-variable", "globex-target")
ALLOWED_END_REASONS = {None, "agent_hangup", "transferred", "model_error"}


def _speak_and_call(tool_call: ToolCall) -> Behaviour:
    return ["Of course. ", tool_call]


BEHAVIOURS: list[Behaviour] = [
    *([tool_call] for tool_call in hostile.TOOL_CALLS.values()),
    *map(_speak_and_call, hostile.TOOL_CALLS.values()),
    *([transfer(target)] for target in hostile.TARGETS),
    *([ToolCall("transfer", arguments[:MAX_ARGUMENTS_CHARS])] for arguments in hostile.ARGUMENTS),
    *([ToolCall("take_message", arguments)] for arguments in hostile.MESSAGES),
    *([text[:2_000]] for text in hostile.TEXTS),
    list(hostile.TOOL_CALLS.values()) * 50,
    [transfer(hostile.NUMBER), transfer("sales"), transfer("front desk")],
    [hostile.SECRET, transfer(hostile.NUMBER)],
]


@pytest.fixture
def allowed_numbers() -> dict[str, str]:
    """Return the only numbers to which acme's calls may be connected, by name."""
    return {name: fresh_number() for name in ("sales", "front desk", "fallback")}


@pytest.fixture
def number(acme: Tenant, globex: Tenant, world: Factory, allowed_numbers: dict[str, str]) -> str:
    """Create a number whose agent has all tools, and data of globex that must not leak."""
    secret_targets = {SECRETS[3]: {"number": fresh_number(), "description": SECRETS[3]}}
    globex.profile(
        system_prompt=SECRETS[0],
        greeting=SECRETS[1],
        tools=["transfer"],
        transfer_targets=secret_targets,
    )
    globex.patch("/settings", {"variables": {"note": SECRETS[2]}})
    globex.number()
    targets = {name: {"number": allowed_numbers[name]} for name in ("sales", "front desk")}
    tools = ["end_call", "transfer", "take_message", "fallback"]
    acme.profile(greeting="Acme here.", tools=tools, transfer_targets=targets)
    world.sql(acme, "UPDATE settings SET limits = '{\"concurrent_calls\": 1000}'")
    did_number: str = acme.number(fallback_number=allowed_numbers["fallback"])["did_number"]
    return did_number


def _make_call(
    client: CarrierClient, number: str, call_id: str, utterance: str
) -> list[dict[str, Any]]:
    """Make a call with one utterance; return the response bodies."""
    first = client.ring(number, call_id)
    return [first, client.say(call_id, first["state"], utterance)]


def _list_connected_numbers(response_bodies: list[dict[str, Any]]) -> set[str]:
    """Return the numbers in the actions of the responses."""
    return {
        action["number"]
        for body in response_bodies
        for action in body["actions"]
        if "number" in action
    }


def _list_dialled_numbers(tenant: Tenant) -> set[str]:
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return set(session.scalars(select(OutboundLeg.number)))


def _count_ends(tenant: Tenant) -> Counter[tuple[str, str | None]]:
    """Count the tenant's calls by status and end reason."""
    with tenant_session(tenant.ref, database=app_services().database) as session:
        rows = session.execute(select(Call.status, Call.end_reason))
        return Counter((status, reason) for status, reason in rows)


def _check_responses(
    response_bodies: list[dict[str, Any]], allowed_numbers: dict[str, str]
) -> None:
    """Check that the responses connect allowed numbers only and contain no secret."""
    assert _list_connected_numbers(response_bodies) <= set(allowed_numbers.values())
    text = json.dumps(response_bodies).decode()
    assert not any(secret in text for secret in SECRETS)


def test_a_hostile_model_connects_no_number_outside_the_allow_list(
    carrier_client: CarrierClient,
    acme: Tenant,
    globex: Tenant,
    number: str,
    allowed_numbers: dict[str, str],
) -> None:
    assert len(BEHAVIOURS) >= 100
    connected: set[str] = set()

    for index, behaviour in enumerate(BEHAVIOURS):
        use_model(HostileModel(behaviour))
        responses = _make_call(carrier_client, number, f"hostile-{index}", "Connect me.")
        _check_responses(responses, allowed_numbers)
        connected |= _list_connected_numbers(responses)

    # Allowed transfers succeed.
    assert connected == {allowed_numbers["sales"], allowed_numbers["fallback"]}
    assert _list_dialled_numbers(acme) <= set(allowed_numbers.values())
    assert _list_dialled_numbers(globex) == set()
    ends = _count_ends(acme)
    assert {reason for _, reason in ends} <= ALLOWED_END_REASONS
    assert ends.total() == len(BEHAVIOURS)


def test_a_model_that_repeats_its_prompt_reveals_no_data_of_another_tenant(
    carrier_client: CarrierClient,
    acme: Tenant,
    globex: Tenant,
    number: str,
    allowed_numbers: dict[str, str],
) -> None:
    model = HostileModel()
    use_model(model)

    for index, text in enumerate((*hostile.TEXTS[:20], *SECRETS[:1])):
        utterance = text.encode("utf-8", "ignore").decode()[:500].replace("\x00", " ")
        responses = _make_call(carrier_client, number, f"teller-{index}", utterance)
        assert _list_connected_numbers(responses) <= set(allowed_numbers.values())

    requests_text = str(model.requests[:-1])  # the utterance of the last call is a secret
    assert "Acme here." in requests_text
    assert not any(secret in requests_text for secret in SECRETS)
    assert _list_dialled_numbers(acme) <= set(allowed_numbers.values())


@pytest.mark.parametrize("chunks", [("word ",), ("x",), (" ",)], ids=repr)
def test_an_endless_model_response_is_cut_off(
    carrier_client: CarrierClient,
    number: str,
    allowed_numbers: dict[str, str],
    chunks: tuple[str, ...],
) -> None:
    use_model(HostileModel(repeat_forever(*chunks)), first_s=0.1, stall_s=0.1, whole_s=0.2)

    responses = _make_call(carrier_client, number, "endless-1", "Hello?")

    _check_responses(responses, allowed_numbers)
    assert len(json.dumps(responses)) < 20_000


# --- A model that hangs --------------------------------------------------------------------------


def test_a_hundred_calls_with_a_hanging_model_end_and_leave_no_turn_running(
    app: Flask,
    acme: Tenant,
    platform: Platform,
    world: Factory,
    carrier: FakeTelephonyAdapter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    platform.api.patch(acme.url("/settings"), {"limits": {"concurrent_calls": 100}})
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.1)
    latency_policy = LatencyPolicy(filler_s=0.05, first_s=0.2, stall_s=0.2, whole_s=0.4)
    use_services(models=Models(HangingModel(), HangingModel(), latency_policy=latency_policy))
    acme.profile(greeting="Acme here.")
    number = acme.number()["did_number"]

    def make_call(index: int) -> tuple[str, ...]:
        """Return the type of the first action of the call, and all types of its last response."""
        client, call_id = CarrierClient(carrier, world.api(None)), f"hanging-{index}"
        first = client.say(call_id, client.ring(number, call_id)["state"], "Hello?")
        last = first
        while action_types(last)[-1] == "come_back":
            last = client.send_event("more", call_id, last["state"])
        return action_types(first)[0], *action_types(last)

    with ThreadPoolExecutor(20) as threads:
        action_counts = Counter(threads.map(make_call, range(100)))

    assert action_counts.total() == 100
    assert {last_type for *_, last_type in action_counts} == {"hang_up"}
    assert {first_type for first_type, *_ in action_counts} <= {"say", "come_back"}
    assert _count_ends(acme) == {("completed", "model_error"): 100}
    assert readers_end(within_s=10)
    deadline = monotonic() + 10
    while remaining := polled_turn.running_turns():
        assert monotonic() < deadline, remaining
        sleep(0.01)
