"""Failed decisions, after which the stored route applies."""

from socket import socket
from threading import Event
from typing import Any

import pytest

from tests.fakes.http_receiver import Behaviour, HttpReceiver
from tests.integration.calls.conftest import CallRecord
from tests.integration.calls.decision_webhooks.conftest import (
    ANSWER_DECISION,
    GREETING,
    get_webhook_rule,
    reply_with_body,
    reply_with_json,
)
from tests.support.carrier_client import CarrierClient, spoken_text
from tests.support.factories import Tenant
from tests.support.webhooks import receiver_url, reply_with_status


def _send_no_response(connection: socket, stop: Event) -> None:
    stop.wait(30)


def _send_slow_body(connection: socket, stop: Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    while not stop.wait(0.05):
        connection.sendall(b" ")


def _close_connection(connection: socket, stop: Event) -> None:
    """Return, after which the receiver closes the connection."""


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
    rule = get_webhook_rule(call["route"])
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
    assert get_webhook_rule(call_record.call["route"])["why"].endswith(
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
    assert get_webhook_rule(call_record.call["route"])["why"] == "the webhook returned status 307"
