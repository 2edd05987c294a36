"""Tests of keyset pagination over HTTP: page contents, links, cursors and concurrent changes."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from flask import Flask

from tests.support import admin_db
from tests.support.api import ApiResponse
from tests.support.factories import Factory, Platform, Tenant, assert_created, fresh_number
from vca.kit import crypto
from vca.tenant.phone_numbers.models import PhoneNumber

ROWS = 60
LIMIT = 7


def _next_url(response: ApiResponse) -> str | None:
    """Return the URL of the next page, or None without a `Link` header."""
    link = response.headers.get("Link")
    if link is None:
        return None
    match = re.fullmatch(r'<([^>]+)>; rel="next"', link)
    assert match, link
    return match[1]


def _cursor(response: ApiResponse) -> str:
    return parse_qs(urlsplit(str(_next_url(response))).query)["cursor"][0]


def _read_pages(
    tenant: Tenant, path: str, after_page: Callable[[int, list[dict[str, Any]]], None]
) -> list[dict[str, Any]]:
    """Read all pages of a list, call a function after each page, and return the rows."""
    url: str | None = tenant.url(f"{path}?limit={LIMIT}")
    rows: list[dict[str, Any]] = []
    page_count = 0
    while url is not None:
        response = tenant.api.get(url)
        assert response.status_code == 200
        assert len(response.json) <= LIMIT
        rows += response.json
        page_count += 1
        assert page_count < 100
        after_page(page_count, response.json)
        url = _next_url(response)
    return rows


def _create_numbers(tenant: Tenant, count: int) -> list[str]:
    """Create numbers in one transaction, so that all have the same time, and return their ids."""
    with admin_db.tenant_session(tenant.ref) as session:
        rows = [
            PhoneNumber(
                id=uuid4(),
                did_number=fresh_number(),
                provider_type="generic",
                is_active=True,
                mode="agent",
                registration_status="pending",
                registration_round=0,
            )
            for _ in range(count)
        ]
        session.add_all(rows)
    return [str(row.id) for row in rows]


def test_concurrent_changes_do_not_repeat_or_omit_rows(
    acme: Tenant,
) -> None:
    """The order is oldest first, so new rows are at the end.

    After each page the test deletes the row of the cursor, an earlier row and a later one.
    """
    first_ids = _create_numbers(acme, ROWS // 2)
    second_ids = _create_numbers(acme, ROWS // 2)
    remaining_ids = {*first_ids, *second_ids}
    later_ids = sorted(second_ids)

    def change(page: int, rows: list[dict[str, Any]]) -> None:
        if page <= 8:
            _create_numbers(acme, 2)
            deleted_ids = {rows[-1]["id"], rows[0]["id"], later_ids.pop()}
            remaining_ids.difference_update(deleted_ids)
            for number_id in deleted_ids:
                assert acme.delete(f"/phone-numbers/{number_id}").status_code in (204, 404)

    read_ids = [row["id"] for row in _read_pages(acme, "/phone-numbers", change)]

    assert len(read_ids) == len(set(read_ids))
    assert remaining_ids <= set(read_ids)
    assert len(remaining_ids) > ROWS // 2
    assert len(read_ids) > len(first_ids)


def test_new_rows_do_not_appear_in_or_change_later_pages(acme: Tenant, world: Factory) -> None:
    to = acme.number(mode="closed")["did_number"]  # its calls end at once, so there is no limit
    old_ids = {acme.simulate(to)["call_id"] for _ in range(20)}
    world.sql(acme, "UPDATE calls SET started_at = date_trunc('hour', started_at)")
    new_ids: set[str] = set()

    def add_call(page: int, rows: list[dict[str, Any]]) -> None:
        new_ids.add(acme.simulate(to)["call_id"])

    read_ids = [row["id"] for row in _read_pages(acme, "/calls", add_call)]

    assert len(read_ids) == len(set(read_ids))
    assert set(read_ids) == old_ids
    assert not new_ids & set(read_ids)


def test_the_order_of_a_list_does_not_depend_on_the_page_size(acme: Tenant) -> None:
    _create_numbers(acme, 20)
    all_ids = [row["id"] for row in acme.get("/phone-numbers", limit=100).json]

    for limit in (1, 3, 19, 20):
        url: str | None = acme.url(f"/phone-numbers?limit={limit}")
        ids: list[str] = []
        while url:
            response = acme.api.get(url)
            ids += [row["id"] for row in response.json]
            url = _next_url(response)
        assert ids == all_ids


def test_only_a_page_with_a_successor_has_a_link(acme: Tenant) -> None:
    assert "Link" not in acme.get("/phone-numbers").headers
    _create_numbers(acme, 14)

    first_page = acme.get("/phone-numbers", limit=7)
    second_page = acme.api.get(str(_next_url(first_page)))

    assert (len(first_page.json), len(second_page.json)) == (7, 7)
    assert _next_url(second_page) is None
    assert _next_url(acme.get("/phone-numbers", limit=14)) is None


def test_a_page_has_25_rows_or_the_requested_number(acme: Tenant) -> None:
    _create_numbers(acme, 101)

    assert len(acme.get("/phone-numbers").json) == 25
    assert len(acme.get("/phone-numbers", limit=1).json) == 1
    assert len(acme.get("/phone-numbers", limit=100).json) == 100
    for limit in ("0", "101", "-1", "", "x", "1.0"):
        response = acme.get("/phone-numbers", limit=limit)
        assert response.status_code == 400
        assert [error["pointer"] for error in response.json["errors"]] == ["/limit"]


def test_a_link_has_the_filters_and_the_public_base_url(app: Flask, acme: Tenant) -> None:
    _create_numbers(acme, 3)
    app.config["PUBLIC_BASE_URL"] = "https://vca.example/base"

    response = acme.api.send(
        "GET",
        acme.url("/phone-numbers"),
        query={"limit": 2, "mode": "agent", "is_active": "true"},
        headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"},
    )

    link = str(_next_url(response))
    assert link.startswith(f"https://vca.example/base{acme.url('/phone-numbers')}?")
    query = parse_qs(urlsplit(link).query)
    assert query.keys() == {"limit", "mode", "is_active", "cursor"}
    assert (query["limit"], query["mode"], query["is_active"]) == (["2"], ["agent"], ["true"])
    second_page = acme.get("/phone-numbers", **{name: value[0] for name, value in query.items()})
    assert len(second_page.json) == 1


def test_a_cursor_is_valid_for_another_limit(acme: Tenant) -> None:
    _create_numbers(acme, 10)
    cursor = _cursor(acme.get("/phone-numbers", limit=2))

    assert len(acme.get("/phone-numbers", limit=5, cursor=cursor).json) == 5
    assert len(acme.get("/phone-numbers", cursor=cursor).json) == 8


def test_a_cursor_of_another_list_or_a_forged_one_is_rejected(
    app: Flask, acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    for tenant in (acme, globex):
        _create_numbers(tenant, 3)
        for index in range(2):
            assert_created(tenant.post("/api-keys", {"name": str(index)}))
    valid_cursor = _cursor(acme.get("/phone-numbers", limit=1))
    body, _, signature = valid_cursor.rpartition(".")
    path = acme.url("/phone-numbers")
    cursors = {
        "another tenant's": _cursor(globex.get("/phone-numbers", limit=1)),
        "another list's": _cursor(acme.get("/api-keys", limit=1)),
        "another filter's": _cursor(acme.get("/phone-numbers", limit=1, mode="agent")),
        "the platform's": _cursor(platform.api.get("/api/tenants", limit=1)),
        "cut": valid_cursor[:-1],
        "cut in front": valid_cursor[1:],
        "longer": f"{valid_cursor}A",
        "upside down": valid_cursor[::-1],
        "no signature": body,
        "only a signature": f".{signature}",
        "another body": f"{body[:-2]}AA.{signature}",
        "not ASCII": "\u0661\u0662",
        "our secret, another purpose": crypto.sign(app.config["SECRET_KEY"], [], purpose="call"),
        "another secret": crypto.sign("x" * 40, [], purpose=f"cursor|{path}|[]"),
        "zipped": ".eJyLVnJUitUBAAJWAUU.AAAA",
        "empty": "",
        "too long": "A" * 501,
    }

    for kind, cursor in cursors.items():
        response = acme.get("/phone-numbers", limit=1, cursor=cursor)

        assert response.status_code == 400, kind
        assert [error["pointer"] for error in response.json["errors"]] == ["/cursor"], kind
    filtered_response = acme.get("/phone-numbers", limit=1, cursor=valid_cursor, mode="agent")
    assert filtered_response.status_code == 400
    assert acme.get("/phone-numbers", limit=1, cursor=valid_cursor).status_code == 200


@pytest.mark.parametrize("path", ["/ai-profiles", "/phone-numbers", "/api-keys", "/calls"])
def test_every_list_of_a_tenant_can_be_read_row_by_row(path: str, acme: Tenant) -> None:
    acme.profile()
    acme.profile()
    to = acme.number()["did_number"]
    acme.number()
    acme.simulate(to)
    acme.simulate(to)
    assert_created(acme.post("/api-keys", {"name": "second"}))
    all_ids = [row["id"] for row in acme.get(path).json]

    url: str | None = acme.url(f"{path}?limit=1")
    ids: list[str] = []
    while url:
        response = acme.api.get(url)
        ids += [row["id"] for row in response.json]
        url = _next_url(response)

    assert ids == all_ids
    assert len(all_ids) >= 2
