"""With the database away a caller hears a sentence, and a carrier's event comes again."""

from flask import Flask

from tests.support.factories import Tenant, fresh_number
from vca.kit import db, json
from vca.kit.db import Database
from vca.telephony import providers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter


def test_a_caller_hears_the_fallback_sentence_and_an_event_is_refused(
    app: Flask, acme: Tenant
) -> None:
    carrier = providers.current_carriers().simulator
    client = app.test_client()
    db.set_current_database(Database("postgresql://nobody@/nothing?host=/nowhere&port=1"))

    def send(action: str, **said: str) -> tuple[int, bytes, str | None]:
        request = carrier.signed_request(action, "/telephony/fake/", call_id="away", **said)
        response = client.post(
            request.url, data=request.body, headers=dict(request.headers), follow_redirects=False
        )
        return response.status_code, response.data, response.headers.get("Retry-After")

    rung = send("voice", to=fresh_number())
    told = send("status", to=fresh_number(), status="completed")

    actions = json.loads(rung[1])["actions"]
    assert (rung[0], [action["type"] for action in actions]) == (200, ["say", "hang_up"])
    assert "call again" in actions[0]["text"]
    assert told[0] == 503
    assert told[2] is not None


def test_who_must_have_signed_is_not_known_then_and_no_other_account_is_answered(
    app: Flask, acme: Tenant
) -> None:
    tenants = FakeTelephonyAdapter("a-tenants-own-secret")
    client = app.test_client()
    db.set_current_database(Database("postgresql://nobody@/nothing?host=/nowhere&port=1"))

    for action in ("voice", "status"):
        said = {"to": fresh_number(), "status": "completed"}
        request = tenants.signed_request(action, "/telephony/fake/", call_id="away", **said)
        response = client.post(request.url, data=request.body, headers=dict(request.headers))

        assert response.status_code == 503
        assert "Retry-After" in response.headers
