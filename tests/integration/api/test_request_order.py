"""What a request does before it uses a database connection, and while it has one."""

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import QueuePool

from tests.support.admissions import calling_out_places
from tests.support.factories import Tenant, fresh_number
from tests.support.services import app_services
from vca.kit.web.parser import StrictParser


@pytest.fixture
def connections_while_parsing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many connections are in use whenever a body is parsed."""
    counts: list[int] = []
    parse = StrictParser.load_json

    def parse_and_count(parser: StrictParser, *args: Any) -> Any:
        pool = app_services().database.engine.pool
        assert isinstance(pool, QueuePool)
        counts.append(pool.checkedout())
        return parse(parser, *args)

    monkeypatch.setattr(StrictParser, "load_json", parse_and_count)
    return counts


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/ai-profiles", {"system_prompt": "Hi."}, 201),
        ("/ai-profiles", {"system_prompt": 1}, 400),
        ("/simulations", {"to": "+14155550100"}, 404),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "a"}])
def test_a_body_is_parsed_once_while_no_connection_is_in_use(
    acme: Tenant,
    connections_while_parsing: list[int],
    path: str,
    body: dict[str, Any],
    status: int,
    headers: dict[str, str],
) -> None:
    response = acme.post(path, body, headers=headers)

    assert response.status_code == status
    assert connections_while_parsing == [0]


def test_a_request_without_a_key_is_refused_before_its_body_is_parsed(
    app: Flask, acme: Tenant, connections_while_parsing: list[int]
) -> None:
    response = app.test_client().post(acme.url("/ai-profiles"), data=b"{", headers={})

    assert response.status_code == 401
    assert connections_while_parsing == []


def test_every_operation_that_calls_out_needs_a_place(app: Flask, acme: Tenant) -> None:
    number = acme.number()
    call_path = "/calls/00000000-0000-4000-8000-000000000000"
    with calling_out_places(app, 0):
        responses = [
            acme.post("/simulations", {"to": number["did_number"]}),
            acme.post(f"{call_path}/hangup"),
            acme.post(f"{call_path}/transfer", {"target": "desk"}),
            acme.post(f"{call_path}/say", {"text": "Hello."}),
            acme.post(f"{call_path}/dtmf", {"digits": "1"}),
            acme.post(f"/phone-numbers/{number['id']}/check"),
            acme.post("/webrtc/credentials", {"phone_number_id": number["id"]}),
            acme.post("/webhooks", {"url": "https://example.com/", "events": ["call.ended"]}),
            acme.get(f"{call_path}/recording"),
            # No numbering plan has this one, so that a carrier is asked about it.
            acme.post("/phone-numbers", {"did_number": "+15550100"}),
        ]
        plain_responses = [
            acme.get("/phone-numbers"),
            acme.get("/audit"),
            acme.post("/phone-numbers", {"did_number": fresh_number()}),
        ]

    assert {(response.status_code, response.json["code"]) for response in responses} == {
        (429, "busy")
    }
    assert [response.status_code for response in plain_responses] == [200, 200, 201]


def test_a_tenant_leaves_places_for_others(app: Flask, acme: Tenant, globex: Tenant) -> None:
    acme_number, globex_number = acme.number(), globex.number()

    with (
        calling_out_places(app, 2, per_tenant=1) as places,
        places.place(acme.ref.id),
    ):
        acme_response = acme.post(f"/phone-numbers/{acme_number['id']}/check")
        globex_response = globex.post(f"/phone-numbers/{globex_number['id']}/check")

    assert acme_response.status_code == 429
    assert globex_response.status_code == 200


def test_a_refused_request_can_be_repeated_with_its_idempotency_key(
    app: Flask, acme: Tenant
) -> None:
    body, headers = {"to": acme.number()["did_number"]}, {"Idempotency-Key": "one"}
    acme.profile()
    with calling_out_places(app, 0):
        busy_response = acme.post("/simulations", body, headers=headers)

    response = acme.post("/simulations", body, headers=headers)

    assert busy_response.status_code == 429
    assert response.status_code == 201
