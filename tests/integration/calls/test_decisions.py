"""A number's decision webhook: what it may decide, when it is asked, and what cannot matter."""

from collections.abc import Callable
from threading import Thread
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

STORED = "Acme here."


def says(decision: Any) -> Behaviour:
    """Answer 200 with this as JSON."""
    return sends(json.dumps(decision))


def sends(body: bytes) -> Behaviour:
    """Answer 200 with these bytes."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
    return reply_with(head.encode() + body)


def arm(tenant: Tenant, number: dict[str, Any], at: HttpReceiver) -> str:
    """Have the receiver decide about the number's calls; the secret."""
    answer = tenant.post(
        f"/phone-numbers/{number['id']}/decision-webhook", {"url": receiver_url(at)}
    )
    assert answer.status_code == 200, answer.text
    secret: str = answer.json["secret"]
    return secret


@pytest.fixture(autouse=True)
def circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    """No endpoint has failed before, and nobody waits for long."""
    monkeypatch.setattr(decision_request, "_circuit_breaker", CircuitBreaker())
    monkeypatch.setattr(decision_request, "TIMEOUT_S", 1.0)


@pytest.fixture
def number(acme: Tenant, endpoint: HttpReceiver) -> dict[str, Any]:
    """A number with an agent, whose calls the endpoint decides about."""
    acme.profile(greeting=STORED)
    made = acme.number()
    arm(acme, made, endpoint)
    return made


def _rule(route: dict[str, Any]) -> dict[str, str]:
    """What the route says of the decision webhook."""
    [rule] = [rule for rule in route["rules"] if rule["rule"] == WEBHOOK_RULE]
    return rule


# --- What it may decide --------------------------------------------------------------------------


def test_it_chooses_the_profile_and_what_the_agent_knows_by_name(
    acme: Tenant,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    jane = acme.profile(greeting="Hello {{name}}.", is_default=False)
    variables = {"name": "Jane", "tier": "gold"}
    endpoint.behaviour = says(
        {"decision": "answer", "ai_profile_id": jane["id"], "variables": variables}
    )

    rung = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(rung) == "Hello Jane."
    call = call_record.call
    assert (call["ai_profile_id"], call["metadata"]) == (jane["id"], variables)
    assert call["route"]["rules"][-1] == {
        "rule": WEBHOOK_RULE,
        "verdict": "decided",
        "why": "the webhook chose the agent",
    }
    carrier_client.say("call-1", rung["state"], "Hello?")
    assert call_record.transcript[:2] == ["agent: Hello Jane.", "caller: Hello?"]


def test_it_is_told_who_calls_whom_signed_and_under_the_id_that_the_call_gets(
    acme: Tenant,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    first = arm(acme, number, endpoint)
    secret = arm(acme, number, endpoint)
    endpoint.behaviour = says({"decision": "answer"})

    carrier_client.ring(number["did_number"], "call-1")

    [asked] = received_requests(endpoint)
    call = call_record.call
    assert asked.is_signed_with(secret)
    assert asked.is_signed_with(first)
    assert asked.event["type"] == "call.incoming"
    assert asked.event["data"] == {
        "tenant_id": acme.id,
        "call_id": call["id"],
        "phone_number_id": number["id"],
        "called_number": number["did_number"],
        "caller_number": CALLER,
        "caller_id": "shown",
        "simulated": False,
    }
    assert asked.headers["webhook-id"] == f"call_{call['id'].replace('-', '')}"


def test_it_has_the_caller_refused_once_for_all_rings(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    endpoint.behaviour = says({"decision": "reject"})

    first, again = (carrier_client.ring(number["did_number"], "call-1") for _ in range(2))

    assert first == again
    assert action_types(first) == ["reject"]
    assert call_record.end_state == ("failed", "declined")
    assert len(endpoint.requests) == 1


def test_it_forwards_and_the_leg_is_counted(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    to = fresh_number()
    endpoint.behaviour = says({"decision": "forward", "forward_to": to})

    first, again = (carrier_client.ring(number["did_number"], "call-1") for _ in range(2))

    assert first == again
    assert first["actions"] == [{"type": "forward", "number": to}]
    assert call_record.end_state == ("completed", "transferred")
    assert call_record.call["route"]["forward_to"] == to


def test_where_calls_are_forwarded_it_may_have_the_agent_answer(
    acme: Tenant,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    forwards = {"mode": "forward", "forward_to": fresh_number()}
    acme.patch(f"/phone-numbers/{number['id']}", forwards)
    endpoint.behaviour = says({"decision": "answer"})

    rung = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(rung) == STORED
    assert call_record.call["route"]["decision"] == "agent"


# --- What has the stored route -------------------------------------------------------------------


def _silent(line: Any, stop: Any) -> None:
    stop.wait(30)


def _drips(line: Any, stop: Any) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    while not stop.wait(0.05):
        line.sendall(b" ")


def _gone(line: Any, stop: Any) -> None:
    """Hang up without a word."""


ANSWER = {"decision": "answer"}
USELESS: dict[str, tuple[Behaviour, str]] = {
    "hangs": (_silent, "no response: The request timed out."),
    "drips": (_drips, "no response: The request timed out."),
    "hangs up": (_gone, "no response: "),
    "500": (reply_with_status(500), "the webhook returned status 500"),
    "404": (reply_with_status(404), "the webhook returned status 404"),
    "nothing": (reply_with_status(204), "the response cannot be parsed: "),
    "text": (sends(b"answer"), "the response cannot be parsed: "),
    "NUL": (sends(b'{"decision": "ans\\u0000"}'), "the response cannot be parsed: "),
    "not UTF-8": (sends(b'{"decision": "\xff"}'), "the response cannot be parsed: "),
    "twice": (
        sends(b'{"decision": "reject", "decision": "answer"}'),
        "the response cannot be parsed",
    ),
    "deep": (sends(b"[" * 50_000), "the response cannot be parsed: "),
    "huge": (sends(b" " * 200_000), "the response is too large"),
    "a list": (says(["reject"]), "the response is not valid: /: Invalid input type."),
    "null": (says(None), "the response is not valid: /"),
    "empty": (says({}), "the response is not valid: /decision: "),
    "unknown": (says({"decision": "Answer"}), "the response is not valid: /decision: "),
    "more": (
        says({**ANSWER, "profile": "x"}),
        "the response is not valid: /profile: Unknown field.",
    ),
    "bad id": (says({**ANSWER, "ai_profile_id": "x"}), "the response is not valid: /ai_profile_id"),
    "nowhere": (says({"decision": "forward"}), "the response is not valid: /forward_to"),
    "no number": (
        says({"decision": "forward", "forward_to": "911"}),
        "the response is not valid: /forward_to",
    ),
    "both": (
        says({"decision": "reject", "forward_to": "+14155550199"}),
        "the response is not valid: /forward_to",
    ),
    "premium": (
        says({"decision": "forward", "forward_to": "+19005550199"}),
        "the webhook forwarded the call, but that number may not be dialled",
    ),
    "long variable": (
        says({**ANSWER, "variables": {"name": "x" * 10_000}}),
        "the response is not valid: /variables/name/value: ",
    ),
    "1,000 variables": (
        says({**ANSWER, "variables": {f"name{n}": "x" for n in range(1_000)}}),
        "the response is not valid: /variables: ",
    ),
    "NUL in a variable": (
        sends(b'{"decision": "answer", "variables": {"name": "a\\u0000b"}}'),
        "the response cannot be parsed: ",
    ),
    "a variable's name": (
        says({**ANSWER, "variables": {"{{name}}": "x"}}),
        "the response is not valid: /variables/{{name}}/key: ",
    ),
    "a number": (
        says({**ANSWER, "variables": {"n": 7}}),
        "the response is not valid: /variables/n",
    ),
}


@pytest.mark.parametrize("how", USELESS)
def test_whatever_else_it_answers_the_call_is_answered_as_without_it_and_says_why(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
    how: str,
) -> None:
    endpoint.behaviour, why = USELESS[how]

    rung = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(rung) == STORED
    call = call_record.call
    assert (call["status"], call["metadata"]) == ("in_progress", {})
    rule = _rule(call["route"])
    assert rule["verdict"] == "passed"
    assert rule["why"].startswith(why)
    assert call["route"]["rules"][-1]["rule"] == "default"


def test_a_profile_of_globex_is_as_unknown_to_acme_as_one_that_never_was(
    acme: Tenant,
    globex: Tenant,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    theirs = globex.profile(greeting="Globex here.")
    endpoint.behaviour = says({**ANSWER, "ai_profile_id": theirs["id"], "variables": {"a": "b"}})

    rung = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(rung) == STORED
    assert call_record.call["metadata"] == {}
    assert _rule(call_record.call["route"])["why"].endswith("but the tenant has no such profile")


def test_a_redirect_leads_nowhere(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
    other_endpoint: HttpReceiver,
) -> None:
    endpoint.behaviour = reply_with_status(307, f"Location: {receiver_url(other_endpoint)}")
    other_endpoint.behaviour = says({"decision": "reject"})

    rung = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(rung) == STORED
    assert other_endpoint.is_unvisited()
    assert _rule(call_record.call["route"])["why"] == "the webhook returned status 307"


def test_a_secret_that_our_keys_do_not_open_signs_nothing_and_nobody_is_asked(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    keys = encryption.current_keyring()
    encryption.set_current_keyring(encryption.Keyring([b"another key of thirty-two bytes."]))
    try:
        rung = carrier_client.ring(number["did_number"], "call-1")
    finally:
        encryption.set_current_keyring(keys)

    assert spoken_text(rung) == STORED
    assert endpoint.requests == []
    assert _rule(call_record.call["route"])["why"] == "not asked: the secret cannot be decrypted"


def test_one_that_has_failed_five_times_in_a_row_keeps_nobody_waiting(
    acme: Tenant, carrier_client: CarrierClient, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = reply_with_status(500)
    for _ in range(5):
        acme.simulate(number["did_number"])

    endpoint.behaviour = says({"decision": "reject"})
    rung = carrier_client.ring(number["did_number"], "call-1")

    assert spoken_text(rung) == STORED
    assert len(endpoint.requests) == 5
    [call] = acme.get("/calls", simulated="false").json
    assert _rule(call["route"])["why"] == "not asked: it failed 5 times in a row"


# --- When it is asked ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "end_reason"),
    [
        ("UPDATE phone_numbers SET is_active = false", "number_inactive"),
        ("UPDATE phone_numbers SET mode = 'closed'", "closed"),
        ("UPDATE settings SET limits = '{\"concurrent_calls\": 0}'", "concurrency_limit"),
        ("UPDATE ai_profiles SET is_default = false", "declined"),
    ],
)
def test_where_no_agent_and_no_forward_would_answer_nobody_is_asked(
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


def test_a_suspended_tenants_system_is_not_asked(
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


def _meanwhile(do: Callable[[], object], then: Behaviour) -> Behaviour:
    """Let something happen while the caller waits, the first time, and then answer."""
    undone = [do]

    def behave(line: Any, stop: Any) -> None:
        while undone:
            undone.pop()()
        then(line, stop)

    return behave


def test_lines_are_counted_when_the_answer_is_there_and_not_when_it_was_asked_for(
    acme: Tenant,
    platform: Platform,
    carrier_client: CarrierClient,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    platform.api.patch(acme.url("/settings"), {"limits": {"concurrent_calls": 1}})
    other = acme.number()
    endpoint.behaviour = _meanwhile(
        lambda: carrier_client.ring(other["did_number"], "call-2"), says({"decision": "answer"})
    )

    carrier_client.ring(number["did_number"], "call-1")

    [refused] = acme.get("/calls", phone_number_id=number["id"]).json
    assert refused["end_reason"] == "concurrency_limit"


def test_where_calls_are_forwarded_an_agent_needs_a_free_line(
    acme: Tenant,
    world: Factory,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    endpoint: HttpReceiver,
) -> None:
    acme.profile(greeting=STORED)
    number = acme.number(mode="forward", forward_to=fresh_number())
    arm(acme, number, endpoint)
    world.sql(acme, "UPDATE settings SET limits = '{\"concurrent_calls\": 0}'")
    endpoint.behaviour = says({"decision": "answer"})

    rung = carrier_client.ring(number["did_number"], "call-1")

    assert action_types(rung) == ["forward"]
    assert "the concurrency limit is reached" in _rule(call_record.call["route"])["why"]


def test_a_decision_is_nothing_to_a_call_that_another_ring_has_begun(
    acme: Tenant,
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    heard: list[Any] = []

    def ring() -> None:
        heard.append(carrier_client.ring(number["did_number"], "call-1"))

    def ring_too() -> None:
        endpoint.behaviour = says({"decision": "answer"})
        other = Thread(target=ring)
        other.start()
        other.join(20)

    endpoint.behaviour = _meanwhile(ring_too, says({"decision": "reject"}))
    ring()

    assert heard[0] == heard[1]
    assert spoken_text(heard[0]) == STORED
    assert call_record.call["status"] == "in_progress"
    assert len(endpoint.requests) == 2


# --- Without a telephone -------------------------------------------------------------------------


def test_the_explained_route_says_that_it_would_be_asked_and_asks_nobody(
    acme: Tenant, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    route = acme.post("/routing/explain", {"to": number["did_number"]}).json

    assert route["decision"] == "agent"
    assert _rule(route) == {
        "rule": WEBHOOK_RULE,
        "verdict": "passed",
        "why": "the webhook is asked first",
    }
    assert endpoint.requests == []


def test_a_simulated_call_asks_too_and_says_that_it_is_one(
    acme: Tenant, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = says({**ANSWER, "variables": {"name": "Jane"}})

    simulated = acme.simulate(number["did_number"])

    assert simulated["reply"] == STORED
    [asked] = received_requests(endpoint)
    assert asked.event["data"]["simulated"] is True
    assert asked.event["data"]["caller_number"] is None
    assert acme.get(f"/calls/{simulated['call_id']}").json["metadata"] == {"name": "Jane"}


def test_a_simulated_call_that_it_wants_refused_is_409_with_the_reason(
    acme: Tenant, number: dict[str, Any], endpoint: HttpReceiver
) -> None:
    endpoint.behaviour = says({"decision": "reject"})

    answer = acme.post("/simulations", {"to": number["did_number"]})

    assert (answer.status_code, answer.json["code"]) == (409, "not-answered-by-agent")
    assert "the webhook rejected the call" in answer.json["detail"]


def test_a_simulation_asks_where_only_the_webhook_may_have_an_agent_answer(
    acme: Tenant, endpoint: HttpReceiver
) -> None:
    acme.profile(greeting=STORED)
    number = acme.number(mode="forward", forward_to=fresh_number())
    arm(acme, number, endpoint)
    endpoint.behaviour = says({"decision": "answer"})

    assert acme.simulate(number["did_number"])["reply"] == STORED


def test_decisions_are_counted_by_what_they_are(
    acme: Tenant,
    carrier_client: CarrierClient,
    real_carrier: RealCallerCarrier,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    def counted(outcome: str) -> float:
        labels = f'vca_decision_webhooks_total{{outcome="{outcome}"}} '
        lines = prometheus.exposition().decode().splitlines()
        return sum(float(line.removeprefix(labels)) for line in lines if line.startswith(labels))

    before = {outcome: counted(outcome) for outcome in ("reject", "refused")}
    endpoint.behaviour = says({"decision": "reject"})
    carrier_client.ring(number["did_number"], "call-1")
    endpoint.behaviour = reply_with_status(500)
    carrier_client.ring(number["did_number"], "call-2")

    assert {outcome: counted(outcome) - was for outcome, was in before.items()} == {
        "reject": 1,
        "refused": 1,
    }
