"""Fixtures and helpers for decision webhooks of phone numbers."""

from typing import Any

import pytest

from tests.fakes.http_receiver import Behaviour, HttpReceiver, reply_with
from tests.support.factories import Tenant
from tests.support.webhooks import receiver_url
from vca.kit import json
from vca.kit.circuit_breaker import EndpointBreakers
from vca.tenant.calls.routing import decision_request
from vca.tenant.calls.routing.routing_rules import WEBHOOK_RULE

GREETING = "Acme here."


def reply_with_json(decision: Any) -> Behaviour:
    """Return a behaviour that replies 200 with this value as JSON."""
    return reply_with_body(json.dumps(decision))


def reply_with_body(body: bytes) -> Behaviour:
    """Return a behaviour that replies 200 with these bytes."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
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
    monkeypatch.setattr(decision_request, "_breakers", EndpointBreakers())
    monkeypatch.setattr(decision_request, "TIMEOUT_S", 1.0)


@pytest.fixture
def number(acme: Tenant, endpoint: HttpReceiver) -> dict[str, Any]:
    """Create a number with an agent and a decision webhook at the endpoint."""
    acme.profile(greeting=GREETING)
    number = acme.number()
    enable_decision_webhook(acme, number, endpoint)
    return number


def get_webhook_rule(route: dict[str, Any]) -> dict[str, str]:
    """Return the route's only rule about the decision webhook."""
    rules: list[dict[str, str]] = route["rules"]
    [webhook_rule] = [rule for rule in rules if rule["rule"] == WEBHOOK_RULE]
    return webhook_rule


ANSWER_DECISION = {"decision": "answer"}
