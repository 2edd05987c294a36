"""The edge's own guards, each where nothing behind it would do the same."""

import flask
import pytest
from flask import Flask, Response, g
from sqlalchemy import text

from tests.support.factories import Platform, Tenant
from vca.api import guards
from vca.kit.web.access import Access

RAW = {"QUERY_STRING": "external_id=\xff"}


def test_what_a_view_wrote_before_it_answered_with_an_error_is_rolled_back(
    app: Flask, acme: Tenant
) -> None:
    def view(tenant_id: object) -> Response:
        g.session.execute(text("UPDATE settings SET time_zone = 'Asia/Tokyo'"))
        return Response(status=409)

    guarded = guards._with_guard(view, Access("tenant", "write", transaction="tenant"))
    headers = {"Authorization": f"Bearer {acme.key}"}
    with app.test_request_context(acme.url("/settings"), method="PATCH", headers=headers):
        assert guarded(tenant_id=acme.ref.id).status_code == 409

    assert acme.get("/settings").json["time_zone"] == "UTC"


@pytest.mark.parametrize("body", ["[]", '"text"', "null", "1"])
def test_a_body_that_is_no_object_is_told_so(body: str, platform: Platform) -> None:
    answer = platform.api.send(
        "POST", "/api/tenants", data=body, headers={"Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json["code"]) == (400, "unreadable-body")


@pytest.mark.parametrize("value", ["%ff", "a%00b", "%ed%a0%80"])
def test_a_filter_that_no_column_can_hold_is_refused_and_not_just_found_nowhere(
    value: str, platform: Platform
) -> None:
    answer = platform.api.send("GET", f"/api/tenants?external_id={value}")

    assert answer.status_code == 400
    [error] = answer.json["errors"]
    assert error["pointer"] == "/external_id"
    assert error["detail"] == "Must be one readable value."


def test_raw_bytes_in_a_query_are_refused(app: Flask, platform: Platform) -> None:
    headers = {"Authorization": f"Bearer {platform.key}"}
    client = app.test_client()

    listed = client.get("/api/tenants", headers=headers, environ_overrides=RAW)
    carried = client.post("/telephony/fake/voice", environ_overrides=RAW)

    assert (listed.status_code, listed.json["code"]) == (400, "invalid-input")
    assert (carried.status_code, carried.json["code"]) == (400, "invalid-input")


def test_there_are_no_cookies_to_read_or_to_set(app: Flask) -> None:
    with app.test_request_context("/", headers={"Cookie": "session=eyJhIjoxfQ.x.y"}):
        assert dict(flask.session) == {}
        with pytest.raises(RuntimeError):
            flask.session["user"] = "somebody"
