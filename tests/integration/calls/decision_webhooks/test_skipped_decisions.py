"""Calls for which no decision is requested, and decisions during concurrent calls."""

from collections.abc import Callable
from socket import socket
from threading import Event, Thread
from typing import Any

import pytest

from tests.fakes.http_receiver import Behaviour, HttpReceiver
from tests.integration.calls.conftest import CallRecord
from tests.integration.calls.decision_webhooks.conftest import (
    GREETING,
    enable_decision_webhook,
    get_webhook_rule,
    reply_with_json,
)
from tests.support.carrier_client import CarrierClient, action_types, spoken_text
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.services import app_services, use_services
from tests.support.webhooks import reply_with_status
from vca.kit import encryption

# --- Calls without a request ---


def test_the_webhook_is_skipped_if_its_secret_cannot_be_decrypted(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    number: dict[str, Any],
    endpoint: HttpReceiver,
) -> None:
    keyring = app_services().keyring
    use_services(keyring=encryption.Keyring([b"another key of thirty-two bytes."]))
    try:
        response = carrier_client.ring(number["did_number"], "call-1")
    finally:
        use_services(keyring=keyring)

    assert spoken_text(response) == GREETING
    assert endpoint.requests == []
    assert (
        get_webhook_rule(call_record.call["route"])["why"]
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
    assert get_webhook_rule(call["route"])["why"] == "not asked: it failed 5 times in a row"


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


# --- Concurrent calls ---


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
    assert "the concurrency limit is reached" in get_webhook_rule(call_record.call["route"])["why"]


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
