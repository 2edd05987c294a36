"""What a tenant and an operator are shown of what was used, in JSON and CSV."""

import csv
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import ProgrammingError

from tests.support.factories import Platform, Tenant
from tests.support.usage import record_usage
from vca.kit import clock, db
from vca.kit.web import csv_response
from vca.registry.usage import periods
from vca.tenancy.session import tenant_session

THIS = periods.month_start(periods.month_of(clock.now()))
LAST = periods.month_start(periods.previous_month(periods.month_of(clock.now())))


def _rows(answer: Any) -> list[dict[str, str]]:
    assert (answer.status_code, answer.mimetype) == (200, "text/csv"), answer.text
    assert answer.headers["Content-Disposition"] == 'attachment; filename="usage.csv"'
    return list(csv.DictReader(StringIO(answer.text)))


def test_this_months_use_is_shown_by_kind(acme: Tenant, globex: Tenant) -> None:
    record_usage(acme, 6_600)
    record_usage(acme, 1_000_000, kind="model_output_tokens")
    record_usage(acme, 30, used_at=LAST)
    record_usage(globex, 7_000)

    shown = acme.get("/usage").json

    assert (shown["from"], shown["plan"], shown["plan_version"]) == (_text(THIS), "starter", 1)
    assert (shown["currency"], shown["spend_cap"], shown["reserved"]) == ("USD", None, 0)
    assert shown["amount"] == shown["spent"] == 120 + 400
    assert shown["groups"] == [
        {
            "kind": "call_seconds",
            "day": None,
            "phone_number_id": None,
            "quantity": 6_600,
            "included": 6_000,
            "billable": 600,
            "amount": 120,
            "amount_millionths": 120_000_000,
        },
        {
            "kind": "model_output_tokens",
            "day": None,
            "phone_number_id": None,
            "quantity": 1_000_000,
            "included": 0,
            "billable": 1_000_000,
            "amount": 400,
            "amount_millionths": 400_000_000,
        },
    ]


def test_use_is_shown_by_day_in_utc_and_by_number(acme: Tenant) -> None:
    first, second = uuid4(), uuid4()
    record_usage(acme, 10, used_at=LAST, phone_number_id=first)
    record_usage(acme, 20, used_at=LAST + timedelta(hours=23, minutes=59), phone_number_id=second)
    record_usage(acme, 30, used_at=LAST + timedelta(days=1), phone_number_id=first)
    record_usage(acme, 40, kind="recording_byte_days", used_at=LAST)
    span = {"from": _text(LAST), "to": _text(THIS)}

    by_day = acme.get("/usage", group_by="day", **span).json["groups"]
    by_number = acme.get("/usage", group_by="phone_number", **span).json["groups"]

    assert [(it["day"], it["kind"], it["quantity"]) for it in by_day] == [
        (_day(0), "call_seconds", 30),
        (_day(0), "recording_byte_days", 40),
        (_day(1), "call_seconds", 30),
    ]
    seconds = {it["phone_number_id"]: it["quantity"] for it in by_number}
    assert seconds == {str(first): 40, str(second): 20, None: 40}


def test_a_time_is_up_to_but_not_at_its_end(acme: Tenant) -> None:
    record_usage(acme, 10, used_at=LAST)
    end = _text(LAST + timedelta(seconds=1))

    assert acme.get("/usage", **{"from": _text(LAST), "to": end}).json["groups"]
    assert not acme.get("/usage", **{"from": end}).json["groups"]
    assert acme.get("/usage", **{"from": end}).json["to"] == _text(THIS)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"from": "2026-11-01"}, "/from"),
        ({"to": "soon"}, "/to"),
        ({"to": "2020-01-01T00:00:00Z"}, "/to"),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "/to"),
        ({"from": "2024-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "/to"),
        ({"group_by": "leg"}, "/group_by"),
        ({"format": "xlsx"}, "/format"),
        ({"since": "2026-01-01T00:00:00Z"}, "/since"),
        ({"from": "9000-12-31T23:59:59Z"}, None),
    ],
)
def test_a_query_that_is_not_valid_names_what_is_wrong(
    acme: Tenant, query: dict[str, str], pointer: str | None
) -> None:
    answer = acme.get("/usage", **query)

    if pointer is None:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 400
        assert [error["pointer"] for error in answer.json["errors"]] == [pointer]


def test_the_same_as_csv_by_parameter_or_by_accept(acme: Tenant) -> None:
    record_usage(acme, 6_600)
    expected = {
        "kind": "call_seconds",
        "day": "",
        "phone_number_id": "",
        "quantity": "6600",
        "included": "6000",
        "billable": "600",
        "amount": "120",
        "amount_millionths": "120000000",
        "currency": "USD",
    }

    assert _rows(acme.get("/usage", format="csv")) == [expected]
    accepting = acme.api.send("GET", acme.url("/usage"), headers={"Accept": "text/csv"})
    assert _rows(accepting) == [expected]
    both = acme.api.send(
        "GET", acme.url("/usage"), headers={"Accept": "text/csv"}, query={"format": "json"}
    )
    assert both.json["amount"] == 120


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_in_a_sheet_is_a_formula_and_a_negative_number_is_a_number(start: str) -> None:
    written = csv_response.encode_rows(("a", "b"), [{"a": f"{start}1+1", "b": -5}])

    [row] = csv.DictReader(StringIO(written, newline=""))
    assert row == {"a": f"'{start}1+1", "b": "-5"}


# --- For operators ---------------------------------------------------------------------------


def test_an_operator_sees_what_each_tenant_used_in_a_month(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    record_usage(acme, 6_600)
    record_usage(acme, 60, used_at=LAST)
    record_usage(globex, 5, kind="number_days")
    month = periods.format_month(periods.month_of(LAST))

    by_id = {
        it["tenant_id"]: it
        for tenant in (acme, globex)
        for it in platform.api.get("/api/usage", tenant_id=tenant.id).json
    }
    [before] = platform.api.get("/api/usage", tenant_id=acme.id, period=month).json

    assert (by_id[acme.id]["amount"], by_id[globex.id]["amount"]) == (120, 25)
    assert [kind["kind"] for kind in by_id[globex.id]["kinds"]] == ["number_days"]
    assert (before["period"], before["amount"]) == (month, 0)
    assert before["kinds"][0]["included"] == 60


def test_an_operators_list_asks_no_tenant(acme: Tenant, platform: Platform) -> None:
    record_usage(acme, 60)
    asked: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(db.current_database().engine, "before_cursor_execute", listen)
    try:
        platform.api.get("/api/usage")
    finally:
        event.remove(db.current_database().engine, "before_cursor_execute", listen)

    assert any("usage_periods" in each for each in asked)
    assert not any("usage_facts" in each or "t_" + UUID(acme.id).hex in each for each in asked)


def test_the_list_is_paged_as_json_and_as_csv(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    for tenant in (acme, globex):
        record_usage(tenant, 60, used_at=datetime(2031, 5, 1, tzinfo=UTC))
    query = {"period": "2031-05", "limit": 1}

    first = platform.api.get("/api/usage", **query)
    cursor = first.headers["Link"].partition("cursor=")[2].partition(">")[0]
    second = platform.api.get("/api/usage", **query, cursor=cursor)
    sheet = platform.api.get("/api/usage", **query, format="csv")

    assert "Link" not in second.headers
    found = [*first.json, *second.json]
    assert [it["tenant_id"] for it in found] == sorted([acme.id, globex.id])
    assert [row["tenant_id"] for row in _rows(sheet)] == [found[0]["tenant_id"]]
    assert "Link" in sheet.headers


@pytest.mark.parametrize("period", ["2026", "2026-13", "2026-00", "1999-01", "2026-1", "٢٠٢٦-١١"])
def test_what_is_no_month_is_refused(platform: Platform, period: str) -> None:
    answer = platform.api.get("/api/usage", period=period)

    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json["errors"]] == ["/period"]


def test_a_tenants_key_sees_its_own_use_only(acme: Tenant, globex: Tenant) -> None:
    record_usage(globex, 60)

    assert acme.api.get(globex.url("/usage")).status_code == 404
    assert acme.api.get("/api/usage").status_code == 403
    assert acme.get("/usage").json["groups"] == []


def test_a_tenants_transaction_writes_no_other_tenants_month(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    record_usage(globex, 6_600)
    before = platform.api.get("/api/usage", tenant_id=globex.id).json
    period = periods.month_of(clock.now())
    forged = text(
        f"SET LOCAL vca.tenant_id = '{globex.id}';"
        f" SELECT public.keep_usage('{period}', 0, '{{}}', '[]')"
    )
    with pytest.raises(ProgrammingError, match="in no tenant"), tenant_session(acme.ref) as session:
        session.execute(forged)

    assert platform.api.get("/api/usage", tenant_id=globex.id).json == before


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _day(after: int) -> str:
    return (LAST + timedelta(days=after)).date().isoformat()
