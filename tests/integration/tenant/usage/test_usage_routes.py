"""Tests of the usage reports of a tenant and of the platform, as JSON and as CSV."""

import csv
from datetime import UTC, datetime, timedelta
from io import StringIO
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from tests.support.api import ApiResponse
from tests.support.factories import Platform, Tenant
from tests.support.sent_sql import record_sent_sql
from tests.support.services import app_services
from tests.support.usage import record_usage
from vca.kit import clock
from vca.kit.web import csv_response
from vca.registry.usage import periods
from vca.tenancy.session import tenant_session

THIS_MONTH = periods.month_start(periods.month_of(clock.now()))
LAST_MONTH = periods.month_start(periods.previous_month(periods.month_of(clock.now())))


def _csv_rows(response: ApiResponse) -> list[dict[str, str]]:
    assert (response.status_code, response.mimetype) == (200, "text/csv"), response.text
    assert response.headers["Content-Disposition"] == 'attachment; filename="usage.csv"'
    return list(csv.DictReader(StringIO(response.text)))


def test_the_usage_of_this_month_is_grouped_by_kind(acme: Tenant, globex: Tenant) -> None:
    record_usage(acme, 6_600)
    record_usage(acme, 1_000_000, kind="model_output_tokens")
    record_usage(acme, 30, used_at=LAST_MONTH)
    record_usage(globex, 7_000)

    report = acme.get("/usage").json

    assert (report["from"], report["plan"], report["plan_version"]) == (
        _format_time(THIS_MONTH),
        "starter",
        1,
    )
    assert (report["currency"], report["spend_cap"], report["reserved"]) == ("USD", None, 0)
    assert report["amount"] == report["spent"] == 120 + 400
    assert report["groups"] == [
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


def test_usage_is_grouped_by_utc_day_or_by_phone_number(acme: Tenant) -> None:
    first, second = uuid4(), uuid4()
    record_usage(acme, 10, used_at=LAST_MONTH, phone_number_id=first)
    record_usage(
        acme, 20, used_at=LAST_MONTH + timedelta(hours=23, minutes=59), phone_number_id=second
    )
    record_usage(acme, 30, used_at=LAST_MONTH + timedelta(days=1), phone_number_id=first)
    record_usage(acme, 40, kind="recording_byte_days", used_at=LAST_MONTH)
    period = {"from": _format_time(LAST_MONTH), "to": _format_time(THIS_MONTH)}

    by_day = acme.get("/usage", group_by="day", **period).json["groups"]
    by_number = acme.get("/usage", group_by="phone_number", **period).json["groups"]

    assert [(group["day"], group["kind"], group["quantity"]) for group in by_day] == [
        (_format_day(0), "call_seconds", 30),
        (_format_day(0), "recording_byte_days", 40),
        (_format_day(1), "call_seconds", 30),
    ]
    seconds = {group["phone_number_id"]: group["quantity"] for group in by_number}
    assert seconds == {str(first): 40, str(second): 20, None: 40}


def test_a_period_includes_its_start_and_excludes_its_end(acme: Tenant) -> None:
    record_usage(acme, 10, used_at=LAST_MONTH)
    end = _format_time(LAST_MONTH + timedelta(seconds=1))

    assert acme.get("/usage", **{"from": _format_time(LAST_MONTH), "to": end}).json["groups"]
    assert not acme.get("/usage", **{"from": end}).json["groups"]
    assert acme.get("/usage", **{"from": end}).json["to"] == _format_time(THIS_MONTH)


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
def test_an_invalid_query_is_rejected_with_the_parameter(
    acme: Tenant, query: dict[str, str], pointer: str | None
) -> None:
    response = acme.get("/usage", **query)

    if pointer is None:
        assert response.status_code == 200
    else:
        assert response.status_code == 400
        assert [error["pointer"] for error in response.json["errors"]] == [pointer]


def test_the_parameter_or_the_accept_header_selects_csv(acme: Tenant) -> None:
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

    assert _csv_rows(acme.get("/usage", format="csv")) == [expected]
    by_accept_header = acme.api.send("GET", acme.url("/usage"), headers={"Accept": "text/csv"})
    assert _csv_rows(by_accept_header) == [expected]
    by_parameter = acme.api.send(
        "GET", acme.url("/usage"), headers={"Accept": "text/csv"}, query={"format": "json"}
    )
    assert by_parameter.json["amount"] == 120


@pytest.mark.parametrize("prefix", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_text_is_never_a_formula_and_negative_numbers_stay_numbers(prefix: str) -> None:
    csv_text = csv_response.encode_rows(("a", "b"), [{"a": f"{prefix}1+1", "b": -5}])

    [row] = csv.DictReader(StringIO(csv_text, newline=""))
    assert row == {"a": f"'{prefix}1+1", "b": "-5"}


# --- Reports of the platform -----------------------------------------------------------------


def test_the_platform_report_has_the_usage_of_each_tenant_in_a_month(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    record_usage(acme, 6_600)
    record_usage(acme, 60, used_at=LAST_MONTH)
    record_usage(globex, 5, kind="number_days")
    month = periods.format_month(periods.month_of(LAST_MONTH))

    reports = {
        report["tenant_id"]: report
        for tenant in (acme, globex)
        for report in platform.api.get("/api/usage", tenant_id=tenant.id).json
    }
    [last_report] = platform.api.get("/api/usage", tenant_id=acme.id, period=month).json

    assert (reports[acme.id]["amount"], reports[globex.id]["amount"]) == (120, 25)
    assert [kind["kind"] for kind in reports[globex.id]["kinds"]] == ["number_days"]
    assert (last_report["period"], last_report["amount"]) == (month, 0)
    assert last_report["kinds"][0]["included"] == 60


def test_the_platform_report_queries_no_tenant_schema(
    acme: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_usage(acme, 60)
    with record_sent_sql(monkeypatch) as round_trips:
        platform.api.get("/api/usage")

    statements = [sql for round_trip in round_trips for sql in round_trip]
    assert any("usage_periods" in sql for sql in statements)
    schema = "t_" + UUID(acme.id).hex
    assert not any("usage_facts" in sql or schema in sql for sql in statements)


def test_the_platform_report_is_paged_as_json_and_as_csv(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    for tenant in (acme, globex):
        record_usage(tenant, 60, used_at=datetime(2031, 5, 1, tzinfo=UTC))
    query = {"period": "2031-05", "limit": 1}

    first_page = platform.api.get("/api/usage", **query)
    cursor = first_page.headers["Link"].partition("cursor=")[2].partition(">")[0]
    second_page = platform.api.get("/api/usage", **query, cursor=cursor)
    csv_page = platform.api.get("/api/usage", **query, format="csv")

    assert "Link" not in second_page.headers
    reports = [*first_page.json, *second_page.json]
    assert [report["tenant_id"] for report in reports] == sorted([acme.id, globex.id])
    assert [row["tenant_id"] for row in _csv_rows(csv_page)] == [reports[0]["tenant_id"]]
    assert "Link" in csv_page.headers


@pytest.mark.parametrize("period", ["2026", "2026-13", "2026-00", "1999-01", "2026-1", "٢٠٢٦-١١"])
def test_an_invalid_month_is_rejected(platform: Platform, period: str) -> None:
    response = platform.api.get("/api/usage", period=period)

    assert response.status_code == 400
    assert [error["pointer"] for error in response.json["errors"]] == ["/period"]


def test_a_tenant_key_reads_only_the_usage_of_its_tenant(acme: Tenant, globex: Tenant) -> None:
    record_usage(globex, 60)

    assert acme.api.get(globex.url("/usage")).status_code == 404
    assert acme.api.get("/api/usage").status_code == 403
    assert acme.get("/usage").json["groups"] == []


def test_a_tenant_session_cannot_write_the_usage_of_another_tenant(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    record_usage(globex, 6_600)
    before = platform.api.get("/api/usage", tenant_id=globex.id).json
    period = periods.month_of(clock.now())
    forged_statement = text(
        f"SET LOCAL vca.tenant_id = '{globex.id}';"
        f" SELECT public.keep_usage('{period}', 0, '{{}}', '[]')"
    )
    with (
        pytest.raises(ProgrammingError, match="in no tenant"),
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        session.execute(forged_statement)

    assert platform.api.get("/api/usage", tenant_id=globex.id).json == before


def _format_time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _format_day(days_later: int) -> str:
    return (LAST_MONTH + timedelta(days=days_later)).date().isoformat()
