"""Decision webhooks of phone numbers: valid decisions, failed ones, and when they are requested."""

from collections.abc import Callable
from socket import socket
from threading import Event, Thread
from typing import Any

import pytest

from tests.fakes.http_receiver import Behaviour, HttpReceiver, reply_with
from tests.integration.calls.conftest import CallRecord, RealCallerCarrier
from tests.support.carrier_client import CALLER, CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.webhooks import received_requests, receiver_url, reply_with_status
from vca.kit import encryption, json
from vca.kit.circuit_breaker import CircuitBreaker
from vca.observability import prometheus
from vca.tenant.calls.routing import decision_request
from vca.tenant.calls.routing.routing_rules import WEBHOOK_RULE

GREETING = "Acme here."


def reply_with_json(decision: Any) -> Behaviour:
    """Return a behaviour that replies 200 with this value as JSON."""
    return reply_with_body(json.dumps(decision))


def reply_with_body(body: bytes) -> Behaviour:
    """Return a behaviour that replies 200 with these bytes."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
    return reply_with(head.encode() + body)


def enable_decision_webhook(tenant: Tenant, number: dict[str, Any], receiver: HttpReceiver) -> str:
    """Let the receiver decide about the number's calls; return the webhook's secret."""
    response = tenant.post(
        f"/phone-numbers/{number['id']}/decision-webhook", {"url": receiver_url(receiver)}
    )
    assert response.status_code == 200, response.text
    secret: str = response.json["secret"]
    return secret


@pytest.fixture(autouse=True)
def _new_circuit_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the failures of earlier tests, and set a short timeout."""
    monkeypatch.setattr(decision_request, "_circuit_breaker", CircuitBreaker())
    monkeypatch.setattr(decision_request, "TIMEOUT_S", 1.0)


@pytest.fixture
def number(acme: Tenant, endpoint: HttpReceiver) -> dict[str, Any]:
    """Create a number with an agent and a decision webhook at the endpoint."""
    acme.profile(greeting=GREETING)
    number = acme.number()
    enable_decision_webhook(acme, number, endpoint)
    return number


def _get_webhook_rule(route: dict[str, Any]) -> dict[str, str]:
    """Return the route's only rule about the decision webhook."""
    rules: list[dict[str, str]] = route["rules"]
    [webhook_rule] = [rule for rule in rules if rule["rule"] == WEBHOOK_RULE]
    return webhook_rule


# --- Valid decisions ------------------------------------------------------------------------------


def test_a_decision_chooses_the_profile_and_its_variables(
    acme: Tenant,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    jane = acme.profile(greeting="Hello {{name}}.", is_default=False)
    variables = {"name": "Jane", "tier": "gold"}
    endpoint.behaviour = reply_with_json(
        {"decision": "answer", "ai_profile_id": jane["id"], "variables": variables}
    )

    response = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(response) == "Hello Jane."
    call = call_record.call
    assert (call["ai_profile_id"], call["metadata"]) == (jane["id"], variables)
    assert call["route"]["rules"][-1] == {
        "rule": WEBHOOK_RULE,
        "verdict": "decided",
        "why": "the webhook chose the agent",
    }
    carrier_client.say("call-1", response["state"], "Hello?")
    assert call_record.transcript[:2] == ["agent: Hello Jane.", "caller: Hello?"]


def test_the_webhook_receives_a_signed_event_with_numbers_and_call_id(
    acme: Tenant,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    previous_secret = enable_decision_webhook(acme, number, endpoint)
    secret = enable_decision_webhook(acme, number, endpoint)
    endpoint.behaviour = reply_with_json({"decision": "answer"})

    carrier_client.ring(number["did_number"], "call-1")

    [request] = received_requests(endpoint)
    call = call_record.call
    assert request.is_signed_with(secret)
    assert request.is_signed_with(previous_secret)
    assert request.event["type"] == "call.incoming"
    assert request.event["data"] == {
        "tenant_id": acme.id,
        "call_id": call["id"],
        "phone_number_id": number["id"],
        "called_number": number["did_number"],
        "caller_number": CALLER,
        "caller_id": "shown",
        "simulated": False,
    }
    assert request.headers["webhook-id"] == f"call_{call['id'].replace('-', '')}"


def test_a_rejected_call_is_rejected_again_without_a_second_request(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    endpoint.behaviour = reply_with_json({"decision": "reject"})

    first, repeated = (carrier_client.ring(number["did_number"], "call-1") for _ in range(2))

    assert first == repeated
    assert action_types(first) == ["reject"]
    assert call_record.end_state == ("failed", "declined")
    assert len(endpoint.requests) == 1


def test_a_decision_forwards_the_call_to_its_number(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    to = fresh_number()
    endpoint.behaviour = reply_with_json({"decision": "forward", "forward_to": to})

    first, repeated = (carrier_client.ring(number["did_number"], "call-1") for _ in range(2))

    assert first == repeated
    assert first["actions"] == [{"type": "forward", "number": to}]
    assert call_record.end_state == ("completed", "transferred")
    assert call_record.call["route"]["forward_to"] == to


def test_a_decision_lets_the_agent_answer_on_a_forwarding_number(
    acme: Tenant,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    forward_fields = {"mode": "forward", "forward_to": fresh_number()}
    acme.patch(f"/phone-numbers/{number['id']}", forward_fields)
    endpoint.behaviour = reply_with_json({"decision": "answer"})

    response = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(response) == GREETING
    assert call_record.call["route"]["decision"] == "agent"


# --- Failed decisions -----------------------------------------------------------------------------


def _send_no_response(connection: socket, stop: Event) -> None:
    stop.wait(30)


def _send_slow_body(connection: socket, stop: Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    while not stop.wait(0.05):
        connection.sendall(b" ")


def _close_connection(connection: socket, stop: Event) -> None:
    """Return, after which the receiver closes the connection."""


ANSWER_DECISION = {"decision": "answer"}
# The behaviour of the webhook, and the start of the reason that the route states.
FAILED_DECISIONS: dict[str, tuple[Behaviour, str]] = {
    "no response": (_send_no_response, "no response: The request timed out."),
    "slow body": (_send_slow_body, "no response: The request timed out."),
    "closed connection": (_close_connection, "no response: "),
    "500": (reply_with_status(500), "the webhook returned status 500"),
    "404": (reply_with_status(404), "the webhook returned status 404"),
    "204": (reply_with_status(204), "the response cannot be parsed: "),
    "plain text": (reply_with_body(b"answer"), "the response cannot be parsed: "),
    "NUL in the decision": (
        reply_with_body(b'{"decision": "ans\\u0000"}'),
        "the response cannot be parsed: ",
    ),
    "not UTF-8": (reply_with_body(b'{"decision": "\xff"}'), "the response cannot be parsed: "),
    "duplicate field": (
        reply_with_body(b'{"decision": "reject", "decision": "answer"}'),
        "the response cannot be parsed",
    ),
    "deep nesting": (reply_with_body(b"[" * 50_000), "the response cannot be parsed: "),
    "large body": (reply_with_body(b" " * 200_000), "the response is too large"),
    "a list": (reply_with_json(["reject"]), "the response is not valid: /: Invalid input type."),
    "null": (reply_with_json(None), "the response is not valid: /"),
    "empty object": (reply_with_json({}), "the response is not valid: /decision: "),
    "unknown decision": (
        reply_with_json({"decision": "Answer"}),
        "the response is not valid: /decision: ",
    ),
    "unknown field": (
        reply_with_json({**ANSWER_DECISION, "profile": "x"}),
        "the response is not valid: /profile: Unknown field.",
    ),
    "invalid profile id": (
        reply_with_json({**ANSWER_DECISION, "ai_profile_id": "x"}),
        "the response is not valid: /ai_profile_id",
    ),
    "forward without a number": (
        reply_with_json({"decision": "forward"}),
        "the response is not valid: /forward_to",
    ),
    "forward to an invalid number": (
        reply_with_json({"decision": "forward", "forward_to": "911"}),
        "the response is not valid: /forward_to",
    ),
    "rejection with a number": (
        reply_with_json({"decision": "reject", "forward_to": "+14155550199"}),
        "the response is not valid: /forward_to",
    ),
    "forward to a premium number": (
        reply_with_json({"decision": "forward", "forward_to": "+19005550199"}),
        "the webhook forwarded the call, but that number may not be dialled",
    ),
    "long variable": (
        reply_with_json({**ANSWER_DECISION, "variables": {"name": "x" * 10_000}}),
        "the response is not valid: /variables/name/value: ",
    ),
    "1,000 variables": (
        reply_with_json({**ANSWER_DECISION, "variables": {f"name{n}": "x" for n in range(1_000)}}),
        "the response is not valid: /variables: ",
    ),
    "NUL in a variable": (
        reply_with_body(b'{"decision": "answer", "variables": {"name": "a\\u0000b"}}'),
        "the response cannot be parsed: ",
    ),
    "invalid variable name": (
        reply_with_json({**ANSWER_DECISION, "variables": {"{{name}}": "x"}}),
        "the response is not valid: /variables/{{name}}/key: ",
    ),
    "number as a variable": (
        reply_with_json({**ANSWER_DECISION, "variables": {"n": 7}}),
        "the response is not valid: /variables/n",
    ),
}


@pytest.mark.parametrize("failure", FAILED_DECISIONS)
def test_a_failed_decision_leaves_the_stored_route_and_states_the_reason(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
    failure: str,
) -> None:
    endpoint.behaviour, reason = FAILED_DECISIONS[failure]

    response = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(response) == GREETING
    call = call_record.call
    assert (call["status"], call["metadata"]) == ("in_progress", {})
    rule = _get_webhook_rule(call["route"])
    assert rule["verdict"] == "passed"
    assert rule["why"].startswith(reason)
    assert call["route"]["rules"][-1]["rule"] == "default"


def test_a_decision_with_another_tenants_profile_is_ignored(
    acme: Tenant,
    globex: Tenant,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    globex_profile = globex.profile(greeting="Globex here.")
    endpoint.behaviour = reply_with_json(
        {**ANSWER_DECISION, "ai_profile_id": globex_profile["id"], "variables": {"a": "b"}}
    )

    response = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(response) == GREETING
    assert call_record.call["metadata"] == {}
    assert _get_webhook_rule(call_record.call["route"])["why"].endswith(
        "but the tenant has no such profile"
    )


def test_a_redirect_is_not_followed(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
    other_endpoint: HttpReceiver,
) -> None:
    endpoint.behaviour = reply_with_status(307, f"Location: {receiver_url(other_endpoint)}")
    other_endpoint.behaviour = reply_with_json({"decision": "reject"})

    response = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(response) == GREETING
    assert other_endpoint.is_unvisited()
    assert _get_webhook_rule(call_record.call["route"])["why"] == "the webhook returned status 307"


def test_the_webhook_is_skipped_if_its_secret_cannot_be_decrypted(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    keyring = encryption.current_keyring()
    encryption.set_current_keyring(encryption.Keyring([b"another key of thirty-two bytes."]))
    try:
        response = carrier_client.ring(number["did_number"], "call-1")
    finally:
        encryption.set_current_keyring(keyring)

    assert spoken_text(response) == GREETING
    assert endpoint.requests == []
    assert (
        _get_webhook_rule(call_record.call["route"])["why"]
        == "not asked: the secret cannot be decrypted"
    )


def test_the_webhook_is_skipped_after_five_failures_in_a_row(
    acme: Tenant, carrier_client: CarrierClient, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    for _ in range(5):
        acme.simulate(number["did_number"])

    endpoint.behaviour = reply_with_json({"decision": "reject"})
    response = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(response) == GREETING
    assert len(endpoint.requests) == 5
    [call] = acme.get("/calls", simulated="false").json
    assert _get_webhook_rule(call["route"])["why"] == "not asked: it failed 5 times in a row"


# --- Calls without a request, and concurrent calls ------------------------------------------------


@pytest.mark.parametrize(
    ("change", "end_reason"),
    [
        ("UPDATE phone_numbers SET is_active = false", "number_inactive"),
        ("UPDATE phone_numbers SET mode = 'closed'", "closed"),
        ("UPDATE settings SET limits = '{\"concurrent_calls\": 0}'", "concurrency_limit"),
        ("UPDATE ai_profiles SET is_default = false", "declined"),
    ],
)
def test_the_webhook_is_skipped_if_neither_agent_nor_forward_would_answer(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    world: Factory,
    number: dict[str, Any],
    endpoint: HttpReceiver,
    change: str,
    end_reason: str,
) -> None:
    world.sql(call_record.tenant, change)

    carrier_client.ring(number["did_number"], "call-1")

    assert endpoint.requests == []
    assert call_record.call["end_reason"] == end_reason


def test_the_webhook_of_a_suspended_tenant_is_skipped(
    acme: Tenant,
    platform: Platform,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    platform.api.patch(acme.url(), {"status": "suspended"})

    carrier_client.ring(number["did_number"], "call-1")

    assert endpoint.requests == []
    assert call_record.call["end_reason"] == "tenant_suspended"


def _run_before_first_reply(function: Callable[[], object], reply: Behaviour) -> Behaviour:
    """Return a behaviour that calls the function once, before its first reply."""
    pending_functions = [function]

    def behave(connection: socket, stop: Event) -> None:
        while pending_functions:
            pending_functions.pop()()
        reply(connection, stop)

    return behave


def test_the_concurrency_limit_is_checked_after_the_decision(
    acme: Tenant,
    platform: Platform,
    carrier_client: CarrierClient,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    platform.api.patch(acme.url("/settings"), {"limits": {"concurrent_calls": 1}})
    other = acme.number()
    endpoint.behaviour = _run_before_first_reply(
        lambda: carrier_client.ring(other["did_number"], "call-2"),
        reply_with_json({"decision": "answer"}),
    )

    carrier_client.ring(number["did_number"], "call-1")

    [call] = acme.get("/calls", phone_number_id=number["id"]).json
    assert call["end_reason"] == "concurrency_limit"


def test_at_the_concurrency_limit_a_forwarding_number_ignores_an_answer_decision(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    endpoint: HttpReceiver,
) -> None:
    acme.profile(greeting=GREETING)
    number = acme.number(mode="forward", forward_to=fresh_number())
    enable_decision_webhook(acme, number, endpoint)
    world.sql(acme, "UPDATE settings SET limits = '{\"concurrent_calls\": 0}'")
    endpoint.behaviour = reply_with_json({"decision": "answer"})

    response = carrier_client.ring(number["did_number"], "call-1")

    assert action_types(response) == ["forward"]
    assert "the concurrency limit is reached" in _get_webhook_rule(call_record.call["route"])["why"]


def test_a_decision_is_ignored_after_a_concurrent_request_started_the_call(
    acme: Tenant,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    responses: list[dict[str, Any]] = []

    def send_inbound_call() -> None:
        responses.append(carrier_client.ring(number["did_number"], "call-1"))

    def repeat_inbound_call() -> None:
        endpoint.behaviour = reply_with_json({"decision": "answer"})
        thread = Thread(target=send_inbound_call)
        thread.start()
        thread.join(20)

    endpoint.behaviour = _run_before_first_reply(
        repeat_inbound_call, reply_with_json({"decision": "reject"})
    )
    send_inbound_call()

    assert responses[0] == responses[1]
    assert spoken_text(responses[0]) == GREETING
    assert call_record.call["status"] == "in_progress"
    assert len(endpoint.requests) == 2


# --- Explained routes, simulations and metrics ----------------------------------------------------


def test_an_explained_route_names_the_webhook_without_requesting_it(
    acme: Tenant, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    route = acme.post("/routing/explain", {"to": number["did_number"]}).json

    assert route["decision"] == "agent"
    assert _get_webhook_rule(route) == {
        "rule": WEBHOOK_RULE,
        "verdict": "passed",
        "why": "the webhook is asked first",
    }
    assert endpoint.requests == []


def test_a_simulated_call_requests_a_decision_marked_as_simulated(
    acme: Tenant, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_json({**ANSWER_DECISION, "variables": {"name": "Jane"}})

    simulation = acme.simulate(number["did_number"])

    assert simulation["reply"] == GREETING
    [request] = received_requests(endpoint)
    assert request.event["data"]["simulated"] is True
    assert request.event["data"]["caller_number"] is None
    assert acme.get(f"/calls/{simulation['call_id']}").json["metadata"] == {"name": "Jane"}


def test_a_rejected_simulation_returns_409_with_the_reason(
    acme: Tenant, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_json({"decision": "reject"})

    response = acme.post("/simulations", {"to": number["did_number"]})

    assert (response.status_code, response.json["code"]) == (409, "not-answered-by-agent")
    assert "the webhook rejected the call" in response.json["detail"]


def test_a_decision_lets_the_agent_answer_a_simulation_of_a_forwarding_number(
    acme: Tenant, endpoint: HttpReceiver
) -> None:
    acme.profile(greeting=GREETING)
    number = acme.number(mode="forward", forward_to=fresh_number())
    enable_decision_webhook(acme, number, endpoint)
    endpoint.behaviour = reply_with_json({"decision": "answer"})

    assert acme.simulate(number["did_number"])["reply"] == GREETING


def test_the_metric_counts_decisions_by_outcome(
    acme: Tenant,
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    def count_decisions(outcome: str) -> float:
        sample = f'vca_decision_webhooks_total{{outcome="{outcome}"}} '
        lines = prometheus.exposition().decode().splitlines()
        return sum(float(line.removeprefix(sample)) for line in lines if line.startswith(sample))

    before = {outcome: count_decisions(outcome) for outcome in ("reject", "refused")}
    endpoint.behaviour = reply_with_json({"decision": "reject"})
    carrier_client.ring(number["did_number"], "call-1")
    endpoint.behaviour = reply_with_status(500)
    carrier_client.ring(number["did_number"], "call-2")

    assert {outcome: count_decisions(outcome) - count for outcome, count in before.items()} == {
        "reject": 1,
        "refused": 1,
    }
