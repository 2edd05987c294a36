"""While the database is unreachable, a caller hears a sentence and a carrier repeats its events."""

import pytest
from flask import Flask
from sqlalchemy import text

from tests.support import admin_db
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant, fresh_number
from tests.support.services import app_services, open_database, use_database
from vca.kit import json
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

# SQLSTATE 53100: disk full.
_FILL_DISK = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER disk_full BEFORE INSERT ON {table} EXECUTE FUNCTION fail()
"""


def test_a_caller_hears_the_fallback_sentence_and_a_status_returns_503(
    app: Flask, acme: Tenant
) -> None:
    carrier = app_services().carriers.simulator
    client = app.test_client()
    use_database(open_database("postgresql://nobody@/nothing?host=/nowhere&port=1"))

    def send(action: str, **fields: str) -> tuple[int, bytes, str | None]:
        request = carrier.signed_request(action, "/telephony/fake/", call_id="away", **fields)
        response = client.post(
            request.url, data=request.body, headers=dict(request.headers), follow_redirects=False
        )
        return response.status_code, response.data, response.headers.get("Retry-After")

    call_status, call_body, _ = send("voice", to=fresh_number())
    event_status, _, event_retry_after = send("status", to=fresh_number(), status="completed")

    actions = json.loads(call_body)["actions"]
    assert (call_status, [action["type"] for action in actions]) == (200, ["say", "hang_up"])
    assert "call again" in actions[0]["text"]
    assert event_status == 503
    assert event_retry_after is not None


@pytest.mark.parametrize("table", ["calls", "events"])
def test_a_caller_hears_the_fallback_sentence_when_the_servers_disk_is_full(
    carrier_client: CarrierClient, acme: Tenant, table: str
) -> None:
    acme.profile()
    number = acme.number()["did_number"]
    with admin_db.tenant_session(acme.ref) as session:
        session.execute(text(_FILL_DISK.format(table=table)))

    response = carrier_client.ring(number, "disk-full")

    assert [action["type"] for action in response["actions"]] == ["say", "hang_up"]
    assert "call again" in response["actions"][0]["text"]


def test_requests_signed_by_a_tenants_account_return_503(app: Flask, acme: Tenant) -> None:
    account_carrier = FakeTelephonyAdapter("a-tenants-own-secret")
    client = app.test_client()
    use_database(open_database("postgresql://nobody@/nothing?host=/nowhere&port=1"))

    for action in ("voice", "status"):
        fields = {"to": fresh_number(), "status": "completed"}
        request = account_carrier.signed_request(
            action, "/telephony/fake/", call_id="away", **fields
        )
        response = client.post(request.url, data=request.body, headers=dict(request.headers))

        assert response.status_code == 503
        assert "Retry-After" in response.headers
