"""Content of calls needs the scope `content`, and so does a change of where it is sent."""

from typing import Any

import pytest

from tests.fakes.http_receiver import HttpReceiver
from tests.integration.api.authorization.operation_requests import operations_with_key
from tests.support.api import Api, ApiResponse
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.operations import Operation
from tests.support.webhooks import receiver_url

SUMMARY = "Jane Doe wants a new crown."
CONTENT = {"summary": SUMMARY, "data": {"name": "Jane Doe"}, "metadata": {"order": "A-1042"}}
WITHHELD = dict.fromkeys(CONTENT)


@pytest.fixture
def call_id(acme: Tenant, world: Factory) -> str:
    """Return the id of an ended call of acme with a summary, data and metadata."""
    acme.profile()
    variables = CONTENT["metadata"]
    call_id: str = acme.simulate(acme.number()["did_number"], variables=variables)["call_id"]
    acme.post(f"/calls/{call_id}/hangup")
    world.sql(
        acme,
        f"UPDATE calls SET summary = '{SUMMARY}', data = '{{\"name\": \"Jane Doe\"}}',"
        " outcome = 'resolved'",
    )
    return call_id


def client(world: Factory, tenant: Tenant | None, *scopes: str) -> Api:
    """Return a client whose key has these scopes; without a tenant, a platform key."""
    return world.api(world.key(tenant.id if tenant else None, scopes=scopes))


def content_of(call: dict[str, Any]) -> dict[str, Any]:
    return {name: call[name] for name in CONTENT}


def assert_content_needed(response: ApiResponse, pointer: str | None = None) -> None:
    assert (response.status_code, response.json["code"]) == (403, "scope-missing"), response.text
    assert "content" in response.json["detail"]
    pointers = [error["pointer"] for error in response.json.get("errors", ())]
    assert pointers == ([pointer] if pointer else [])


# --- Reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_platform", [False, True])
@pytest.mark.parametrize("scopes", [("read",), ("read", "write", "admin")])
def test_a_key_without_the_scope_reads_calls_without_their_content(
    world: Factory, acme: Tenant, call_id: str, scopes: tuple[str, ...], is_platform: bool
) -> None:
    api = client(world, None if is_platform else acme, *scopes)

    call = api.get(acme.url(f"/calls/{call_id}")).json
    [listed_call] = api.get(acme.url("/calls")).json

    assert call == listed_call
    assert content_of(call) == WITHHELD
    assert call["content_withheld"] is True
    assert call["outcome"] == "resolved"


@pytest.mark.parametrize("is_platform", [False, True])
def test_a_key_with_the_scope_reads_the_content(
    world: Factory, acme: Tenant, call_id: str, is_platform: bool
) -> None:
    api = client(world, None if is_platform else acme, "read", "content")

    call = api.get(acme.url(f"/calls/{call_id}")).json
    [listed_call] = api.get(acme.url("/calls")).json

    assert call == listed_call
    assert content_of(call) == CONTENT
    assert call["content_withheld"] is False


def test_no_operation_without_the_scope_shows_content(
    world: Factory, acme: Tenant, call_id: str, all_operations: list[Operation]
) -> None:
    reader = client(world, acme, "read")
    [number], [profile] = acme.get("/phone-numbers").json, acme.get("/ai-profiles").json
    ids = {
        "tenant_id": acme.id,
        "call_id": call_id,
        "phone_number_id": number["id"],
        "ai_profile_id": profile["id"],
    }
    readable = [
        operation
        for operation in operations_with_key(all_operations)
        if operation.method == "GET" and set(operation.path_names) <= ids.keys()
    ]

    responses = [reader.get(operation.url(ids)) for operation in readable]

    assert sum(response.status_code == 200 for response in responses) >= 10
    assert all("Jane" not in response.text for response in responses)
    assert all("A-1042" not in response.text for response in responses)


def test_the_response_to_a_placed_call_shows_the_metadata_that_was_sent(
    world: Factory, acme: Tenant
) -> None:
    acme.profile()
    acme.patch("/settings", {"dial_policy": {"countries": ["GB"]}})
    writer = client(world, acme, "read", "write")
    body = {
        "to": fresh_number(),
        "from_phone_number_id": acme.number()["id"],
        "metadata": CONTENT["metadata"],
    }
    headers = {"Idempotency-Key": "one"}

    placed_call = writer.post(acme.url("/calls"), body, headers=headers)
    repeated = writer.post(acme.url("/calls"), body, headers=headers)
    hung_up = writer.post(acme.url(f"/calls/{placed_call.json['id']}/hangup"))
    read = writer.get(acme.url(f"/calls/{placed_call.json['id']}"))

    for response in (placed_call, repeated):
        assert response.status_code == 202, response.text
        assert response.json["metadata"] == CONTENT["metadata"]
        assert response.json["content_withheld"] is False
    for response in (hung_up, read):
        assert response.json["metadata"] is None
        assert response.json["content_withheld"] is True


def test_another_key_does_not_get_the_stored_response(world: Factory, acme: Tenant) -> None:
    acme.profile()
    acme.patch("/settings", {"dial_policy": {"countries": ["GB"]}})
    body = {
        "to": fresh_number(),
        "from_phone_number_id": acme.number()["id"],
        "metadata": CONTENT["metadata"],
    }
    headers = {"Idempotency-Key": "one"}
    acme.post("/calls", body, headers=headers)

    other = client(world, acme, "write").post(acme.url("/calls"), body, headers=headers)

    assert "Idempotency-Replayed" not in other.headers


# --- Changing where content is sent ---------------------------------------------------------------


def test_an_address_for_messages_needs_the_scope(
    world: Factory, acme: Tenant, platform: Platform
) -> None:
    acme.patch("/settings", {"notification_email": "team@acme.example"})
    url = acme.url("/settings")
    attack = {"notification_email": "attacker@evil.example", "time_zone": "Asia/Tokyo"}

    for api in (
        client(world, acme, "write"),
        client(world, acme, "read", "write", "admin"),
        client(world, None, "read", "write", "admin"),
    ):
        assert_content_needed(api.patch(url, attack), "/notification_email")

    stored = acme.get("/settings").json
    assert (stored["notification_email"], stored["time_zone"]) == ("team@acme.example", "UTC")
    allowed = client(world, acme, "write", "content").patch(url, attack)
    assert allowed.json["notification_email"] == "attacker@evil.example"
    assert platform.api.patch(url, {"notification_email": "ops@acme.example"}).status_code == 200


def test_the_same_address_and_none_need_no_scope(world: Factory, acme: Tenant) -> None:
    acme.patch("/settings", {"notification_email": "team@acme.example"})
    writer, url = client(world, acme, "write"), acme.url("/settings")

    unchanged = writer.patch(url, {"notification_email": "team@acme.example", "spend_cap": None})
    removed = writer.patch(url, {"notification_email": None})

    assert (unchanged.status_code, removed.status_code) == (200, 200)
    assert removed.json["notification_email"] is None


def test_a_decision_webhook_needs_the_scope_because_it_gets_callers_numbers(
    world: Factory, acme: Tenant, endpoint: HttpReceiver
) -> None:
    number = acme.number()
    url = acme.url(f"/phone-numbers/{number['id']}/decision-webhook")
    body = {"url": receiver_url(endpoint)}

    rejected_response = client(world, acme, "read", "write", "admin").post(url, body)
    accepted_response = client(world, acme, "admin", "content").post(url, body)

    assert_content_needed(rejected_response)
    assert accepted_response.status_code == 200
    assert client(world, acme, "admin").delete(url).status_code == 204


def test_events_have_no_content_so_a_webhook_does_not_need_the_scope(
    world: Factory, acme: Tenant, endpoint: HttpReceiver
) -> None:
    admin = client(world, acme, "read", "admin")
    webhook = admin.post(acme.url("/webhooks"), {"url": receiver_url(endpoint)})
    assert webhook.status_code == 201
    acme.profile()

    caller = {"from": "+14155550123", "variables": CONTENT["metadata"]}
    call_id = acme.simulate(acme.number()["did_number"], **caller)["call_id"]
    acme.say(call_id, "My name is Jane Doe.")
    acme.post(f"/calls/{call_id}/hangup")
    world.run_jobs(acme)

    payloads = [request.decode() for request in endpoint.requests]
    assert any("call.ended" in payload for payload in payloads)
    for content in ("+14155550123", "A-1042", "Jane"):
        assert all(content not in payload for payload in payloads)
