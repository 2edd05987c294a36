"""Keyset pages over HTTP: no row twice, none left out, whatever happens between two pages."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.support import admin_db
from tests.support.factories import Factory, Platform, Tenant, assert_created, fresh_number
from vca.kit import crypto
from vca.tenant.phone_numbers.models import PhoneNumber

ROWS = 60
LIMIT = 7


def _next(answer: TestResponse) -> str | None:
    """The path of the next page, if one is announced."""
    link = answer.headers.get("Link")
    if link is None:
        return None
    found = re.fullmatch(r'<([^>]+)>; rel="next"', link)
    assert found, link
    return found[1]


def _cursor(answer: TestResponse) -> str:
    return parse_qs(urlsplit(str(_next(answer))).query)["cursor"][0]


def _walk(
    tenant: Tenant, path: str, between: Callable[[int, list[dict[str, Any]]], None]
) -> list[dict[str, Any]]:
    """All pages of a list, with something happening after each."""
    url: str | None = tenant.url(f"{path}?limit={LIMIT}")
    seen: list[dict[str, Any]] = []
    pages = 0
    while url is not None:
        answer = tenant.api.get(url)
        assert answer.status_code == 200
        assert len(answer.json) <= LIMIT
        seen += answer.json
        pages += 1
        assert pages < 100
        between(pages, answer.json)
        url = _next(answer)
    return seen


def _numbers(tenant: Tenant, count: int) -> list[str]:
    """Numbers made in one transaction, so that they all have the same time."""
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


def test_a_walk_over_a_list_that_changes_shows_each_row_that_stays_exactly_once(
    acme: Tenant,
) -> None:
    """Oldest first; new rows go to the end, deleted ones are the one that the cursor stands on,
    one that was seen, and one that was not."""
    first = _numbers(acme, ROWS // 2)
    second = _numbers(acme, ROWS // 2)
    stays = {*first, *second}
    waiting = sorted(second)

    def change(page: int, rows: list[dict[str, Any]]) -> None:
        if page <= 8:
            _numbers(acme, 2)
            gone = {rows[-1]["id"], rows[0]["id"], waiting.pop()}
            stays.difference_update(gone)
            for number_id in gone:
                assert acme.delete(f"/phone-numbers/{number_id}").status_code in (204, 404)

    seen = [row["id"] for row in _walk(acme, "/phone-numbers", change)]

    assert len(seen) == len(set(seen))
    assert stays <= set(seen)
    assert len(stays) > ROWS // 2
    assert len(seen) > len(first)


def test_a_walk_newest_first_shows_no_row_twice_while_new_ones_come(
    acme: Tenant, world: Factory
) -> None:
    acme.profile()
    to = acme.number()["did_number"]
    old = {acme.simulate(to)["call_id"] for _ in range(20)}
    world.sql(acme, "UPDATE calls SET started_at = date_trunc('hour', started_at)")
    new: set[str] = set()

    def ring(page: int, rows: list[dict[str, Any]]) -> None:
        new.add(acme.simulate(to)["call_id"])

    seen = [row["id"] for row in _walk(acme, "/calls", ring)]

    assert len(seen) == len(set(seen))
    assert set(seen) == old
    assert not new & set(seen)


def test_a_list_is_in_one_order_whatever_the_pages_size(acme: Tenant) -> None:
    _numbers(acme, 20)
    whole = [row["id"] for row in acme.get("/phone-numbers", limit=100).json]

    for limit in (1, 3, 19, 20):
        url: str | None = acme.url(f"/phone-numbers?limit={limit}")
        walked: list[str] = []
        while url:
            answer = acme.api.get(url)
            walked += [row["id"] for row in answer.json]
            url = _next(answer)
        assert walked == whole


def test_the_next_page_is_announced_only_when_there_is_one(acme: Tenant) -> None:
    assert "Link" not in acme.get("/phone-numbers").headers
    _numbers(acme, 14)

    one = acme.get("/phone-numbers", limit=7)
    two = acme.api.get(str(_next(one)))

    assert (len(one.json), len(two.json)) == (7, 7)
    assert _next(two) is None
    assert _next(acme.get("/phone-numbers", limit=14)) is None


def test_a_page_has_25_rows_unless_another_number_is_asked_for(acme: Tenant) -> None:
    _numbers(acme, 101)

    assert len(acme.get("/phone-numbers").json) == 25
    assert len(acme.get("/phone-numbers", limit=1).json) == 1
    assert len(acme.get("/phone-numbers", limit=100).json) == 100
    for limit in ("0", "101", "-1", "", "x", "1.0"):
        refused = acme.get("/phone-numbers", limit=limit)
        assert refused.status_code == 400
        assert [error["pointer"] for error in refused.json["errors"]] == ["/limit"]


def test_a_link_keeps_the_filters_and_leads_to_the_configured_address(
    app: Flask, acme: Tenant
) -> None:
    _numbers(acme, 3)
    app.config["PUBLIC_BASE_URL"] = "https://vca.example/base"

    answer = acme.api.send(
        "GET",
        acme.url("/phone-numbers"),
        query={"limit": 2, "mode": "agent", "is_active": "true"},
        headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"},
    )

    link = str(_next(answer))
    assert link.startswith(f"https://vca.example/base{acme.url('/phone-numbers')}?")
    query = parse_qs(urlsplit(link).query)
    assert query.keys() == {"limit", "mode", "is_active", "cursor"}
    assert (query["limit"], query["mode"], query["is_active"]) == (["2"], ["agent"], ["true"])
    rest = acme.get("/phone-numbers", **{name: value[0] for name, value in query.items()})
    assert len(rest.json) == 1


def test_a_cursor_is_good_for_another_limit(acme: Tenant) -> None:
    _numbers(acme, 10)
    cursor = _cursor(acme.get("/phone-numbers", limit=2))

    assert len(acme.get("/phone-numbers", limit=5, cursor=cursor).json) == 5
    assert len(acme.get("/phone-numbers", cursor=cursor).json) == 8


def test_a_cursor_of_elsewhere_or_of_nobody_is_refused(
    app: Flask, acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    for tenant in (acme, globex):
        _numbers(tenant, 3)
        for index in range(2):
            assert_created(tenant.post("/api-keys", {"name": str(index)}))
    own = _cursor(acme.get("/phone-numbers", limit=1))
    body, _, signature = own.rpartition(".")
    path = acme.url("/phone-numbers")
    cursors = {
        "another tenant's": _cursor(globex.get("/phone-numbers", limit=1)),
        "another list's": _cursor(acme.get("/api-keys", limit=1)),
        "another filter's": _cursor(acme.get("/phone-numbers", limit=1, mode="agent")),
        "the platform's": _cursor(platform.api.get("/api/tenants", limit=1)),
        "cut": own[:-1],
        "cut in front": own[1:],
        "longer": f"{own}A",
        "upside down": own[::-1],
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
        answer = acme.get("/phone-numbers", limit=1, cursor=cursor)

        assert answer.status_code == 400, kind
        assert [error["pointer"] for error in answer.json["errors"]] == ["/cursor"], kind
    with_a_filter = acme.get("/phone-numbers", limit=1, cursor=own, mode="agent")
    assert with_a_filter.status_code == 400
    assert acme.get("/phone-numbers", limit=1, cursor=own).status_code == 200


@pytest.mark.parametrize("path", ["/ai-profiles", "/phone-numbers", "/api-keys", "/calls"])
def test_every_list_of_a_tenant_can_be_walked_one_by_one(path: str, acme: Tenant) -> None:
    acme.profile()
    acme.profile()
    to = acme.number()["did_number"]
    acme.number()
    acme.simulate(to)
    acme.simulate(to)
    assert_created(acme.post("/api-keys", {"name": "second"}))
    whole = [row["id"] for row in acme.get(path).json]

    url: str | None = acme.url(f"{path}?limit=1")
    walked = []
    while url:
        answer = acme.api.get(url)
        walked += [row["id"] for row in answer.json]
        url = _next(answer)

    assert walked == whole
    assert len(whole) >= 2
