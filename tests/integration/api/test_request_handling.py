"""Checks that only the API layer makes: rollback, bodies, queries and cookies."""

import flask
import pytest
from flask import Flask, Response, g
from sqlalchemy import text

from tests.support.factories import Platform, Tenant
from vca.api import guards
from vca.kit.web.access import Access

RAW_QUERY = {"QUERY_STRING": "external_id=\xff"}


def test_an_error_response_rolls_back_what_the_view_wrote(app: Flask, acme: Tenant) -> None:
    def view(tenant_id: object) -> Response:
        g.session.execute(text("UPDATE settings SET time_zone = 'Asia/Tokyo'"))
        return Response(status=409)

    guarded = guards._with_guard(view, Access("tenant", "write", transaction="tenant"))
    headers = {"Authorization": f"Bearer {acme.key}"}
    with app.test_request_context(acme.url("/settings"), method="PATCH", headers=headers):
        assert guarded(tenant_id=acme.ref.id).status_code == 409

    assert acme.get("/settings").json["time_zone"] == "UTC"


@pytest.mark.parametrize("body", ["[]", '"text"', "null", "1"])
def test_a_body_that_is_no_json_object_returns_400(body: str, platform: Platform) -> None:
    response = platform.api.send(
        "POST", "/api/tenants", data=body.encode(), headers={"Content-Type": "application/json"}
    )

    assert (response.status_code, response.json["code"]) == (400, "unreadable-body")


@pytest.mark.parametrize("value", ["%ff", "a%00b", "%ed%a0%80"])
def test_a_filter_with_characters_that_postgres_cannot_store_returns_400(
    value: str, platform: Platform
) -> None:
    response = platform.api.send("GET", f"/api/tenants?external_id={value}")

    assert response.status_code == 400
    [error] = response.json["errors"]
    assert error["pointer"] == "/external_id"
    assert error["detail"] == "Must be one readable value."


def test_raw_bytes_in_a_query_return_400(app: Flask, platform: Platform) -> None:
    headers = {"Authorization": f"Bearer {platform.key}"}
    client = app.test_client()

    list_response = client.get("/api/tenants", headers=headers, environ_overrides=RAW_QUERY)
    carrier_response = client.post("/telephony/fake/voice", environ_overrides=RAW_QUERY)

    for response in (list_response, carrier_response):
        assert response.status_code == 400
        assert response.json is not None
        assert response.json["code"] == "invalid-input"


def test_the_app_neither_reads_nor_sets_cookies(app: Flask) -> None:
    with app.test_request_context("/", headers={"Cookie": "session=eyJhIjoxfQ.x.y"}):
        assert dict(flask.session) == {}
        with pytest.raises(RuntimeError):
            flask.session["user"] = "somebody"
