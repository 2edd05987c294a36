"""Valid decisions of decision webhooks, and simulations and metrics of them."""

from typing import Any

from tests.fakes.http_receiver import HttpReceiver, keep_open
from tests.integration.calls.conftest import CallRecord, RealCallerCarrier
from tests.integration.calls.decision_webhooks.conftest import (
    ANSWER_DECISION,
    GREETING,
    enable_decision_webhook,
    get_webhook_rule,
    reply_with_json,
)
from tests.support.carrier_client import CALLER, CarrierClient, action_types, spoken_text
from tests.support.factories import Tenant, fresh_number
from tests.support.webhooks import received_requests, reply_with_status
from vca.kit import json
from vca.observability import prometheus
from vca.tenant.calls.routing.routing_rules import WEBHOOK_RULE

# --- Valid decisions ---


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


# --- Explained routes, simulations and metrics ---


def test_an_explained_route_names_the_webhook_without_requesting_it(
    acme: Tenant, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    route = acme.post("/routing/explain", {"to": number["did_number"]}).json

    assert route["decision"] == "agent"
    assert get_webhook_rule(route) == {
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


def test_a_rejected_simulation_is_a_failed_call_with_the_reason(
    acme: Tenant, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_json({"decision": "reject"})

    simulation = acme.simulate(number["did_number"])

    assert simulation["actions"] == [{"kind": "reject", "end_reason": "declined"}]
    assert (simulation["status"], simulation["end_reason"]) == ("failed", "declined")
    call = acme.get(f"/calls/{simulation['call_id']}").json
    assert call["route"]["rules"][-1]["why"] == "the webhook rejected the call"


def test_the_options_of_a_simulation_override_a_decision(
    acme: Tenant, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    requested = acme.profile(greeting="Hello {{name}} ({{tier}}).", is_default=False)
    endpoint.behaviour = reply_with_json(
        {**ANSWER_DECISION, "variables": {"name": "Jane", "tier": "gold"}}
    )

    simulation = acme.simulate(
        number["did_number"], ai_profile_id=requested["id"], variables={"name": "Joe"}
    )

    assert simulation["reply"] == "Hello Joe (gold)."
    call = acme.get(f"/calls/{simulation['call_id']}").json
    assert call["ai_profile_id"] == requested["id"]
    assert call["metadata"] == {"name": "Joe", "tier": "gold"}


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


def test_a_decision_is_asked_for_again_if_the_connection_is_lost(
    acme: Tenant, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    body = json.dumps({"decision": "reject"})
    rejection = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    endpoint.behaviour = keep_open(endpoint, rejection, b"")

    for _ in range(2):
        acme.simulate(number["did_number"])

    assert len(endpoint.client_ports) == 2
    first, lost, repeated = received_requests(endpoint)
    assert lost.headers["webhook-id"] == repeated.headers["webhook-id"]
    assert first.headers["webhook-id"] != lost.headers["webhook-id"]
    assert {call["end_reason"] for call in acme.get("/calls").json} == {"declined"}
