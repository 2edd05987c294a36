"""`GET /metrics`: its token, its values, and its response without a database."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from tests.support import admin_db
from tests.support.api import Api, ApiResponse
from tests.support.carrier_client import BASE_PATH
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services, open_database, use_database
from vca.jobs import queue, worker_loop
from vca.kit.db import DatabaseBusy, DatabaseUnavailable
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import IsolationError, public_session, tenant_session

TOKEN = "a-token-of-the-test-suite-and-no-other"
ReadValue = Callable[..., float]


@pytest.fixture
def scrape(app: Flask, anonymous: Api) -> Callable[[], ApiResponse]:
    """Return a function that sends the request of Prometheus."""
    app.config["METRICS_TOKEN"] = TOKEN
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return lambda: anonymous.send("GET", "/metrics", headers=dict(headers))


@pytest.fixture
def read_value(scrape: Callable[[], ApiResponse]) -> ReadValue:
    """Return a function that returns the value of a series, or 0 if the series is missing."""

    def read(name: str, **labels: str) -> float:
        response = scrape()
        assert response.status_code == 200, response.text
        for family in text_string_to_metric_families(response.text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return 0.0

    return read


@pytest.fixture
def database_unreachable(app: Flask) -> Iterator[None]:
    """Replace the database by an address on which no server listens."""
    unreachable_database = open_database("postgresql://nobody@127.0.0.1:1/nowhere")
    before = app_services().database
    use_database(unreachable_database)
    yield
    use_database(before)
    unreachable_database.close()


# --- Token --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}",
        "Bearer é",
    ],
)
def test_a_wrong_token_returns_401(
    scrape: Callable[[], ApiResponse], anonymous: Api, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}

    response = anonymous.send("GET", "/metrics", headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "vca_" not in response.text.replace("vca_…", "")


def test_an_api_key_returns_401(
    scrape: Callable[[], ApiResponse], acme: Tenant, world: Factory
) -> None:
    assert acme.api.get("/metrics").status_code == 401
    assert world.platform().api.get("/metrics").status_code == 401


def test_without_a_configured_token_the_path_returns_404(app: Flask, anonymous: Api) -> None:
    for authorization in ("Bearer ", "Bearer", f"Bearer {TOKEN}"):
        response = anonymous.send("GET", "/metrics", headers={"Authorization": authorization})

        assert response.status_code == 404


# --- Metrics of the process ---------------------------------------------------------------------


def test_the_metrics_name_no_tenant_and_no_number(
    scrape: Callable[[], ApiResponse], acme: Tenant, globex: Tenant
) -> None:
    for tenant in (acme, globex):
        tenant.profile()
        tenant.say(tenant.simulate(tenant.number()["did_number"])["call_id"], "Hello?")

    exposition = scrape().text

    for tenant in (acme, globex):
        assert tenant.id not in exposition
        assert tenant.ref.schema not in exposition
    assert "+44" not in exposition


def test_requests_are_counted_by_method_and_status_class(
    read_value: ReadValue, acme: Tenant
) -> None:
    labels = {"method": "GET", "status_class": "4xx"}
    before = read_value("vca_http_requests_total", **labels)
    duration_count = read_value("vca_http_request_seconds_count")

    acme.get("/nothing-here")

    assert read_value("vca_http_requests_total", **labels) == before + 1
    assert read_value("vca_http_request_seconds_count") >= duration_count + 2


def test_the_beginning_and_the_end_of_a_call_are_counted(
    read_value: ReadValue, acme: Tenant
) -> None:
    acme.profile(end_phrases=["goodbye"])
    common_labels = {"carrier": "fake", "simulated": "true"}
    begin_labels = {"direction": "inbound", **common_labels}
    end_labels = {"end_reason": "agent_hangup", **common_labels}
    before = (
        read_value("vca_calls_begun_total", **begin_labels),
        read_value("vca_calls_ended_total", **end_labels),
    )
    turn_count = read_value("vca_turn_seconds_count", stage="total")

    call = acme.simulate(acme.number()["did_number"])
    acme.say(call["call_id"], "Goodbye!")

    assert read_value("vca_calls_begun_total", **begin_labels) == before[0] + 1
    assert read_value("vca_calls_ended_total", **end_labels) == before[1] + 1
    assert read_value("vca_turn_seconds_count", stage="total") == turn_count + 1


def test_forged_carrier_requests_are_counted(
    read_value: ReadValue, anonymous: Api, carrier: FakeTelephonyAdapter
) -> None:
    before = read_value("vca_signature_failures_total", carrier="fake")
    signed_request = carrier.signed_request("voice", BASE_PATH, call_id="forged", to="+14155550100")
    forged_request = CarrierRequest("voice", signed_request.url, {}, signed_request.body)

    response = anonymous.send("POST", "/telephony/fake/voice", data=forged_request.body)

    assert response.status_code == 403
    assert read_value("vca_signature_failures_total", carrier="fake") == before + 1


def test_an_isolation_alarm_is_counted(read_value: ReadValue, acme: Tenant, globex: Tenant) -> None:
    before = read_value("vca_isolation_alarms_total")
    with admin_db.tenant_session(acme.ref) as session:
        session.execute(text("ALTER TYPE tenant_identity RENAME TO hidden"))

    with (
        pytest.raises(IsolationError),
        tenant_session(TenantRef(acme.ref.id), database=app_services().database),
    ):
        pass

    assert read_value("vca_isolation_alarms_total") == before + 1
    with admin_db.public_session() as session:
        session.execute(text(f'ALTER TYPE "{acme.ref.schema}".hidden RENAME TO tenant_identity'))


def test_the_wait_for_a_connection_is_measured(read_value: ReadValue, acme: Tenant) -> None:
    before = read_value("vca_pool_wait_seconds_count")

    acme.get("/calls")

    assert read_value("vca_pool_wait_seconds_count") >= before + 1


def test_every_database_failure_is_exported_from_the_start(
    scrape: Callable[[], ApiResponse],
) -> None:
    series = scrape().text

    for sqlstate in ("57014", "55P03", "25P03"):
        assert f'vca_database_timeouts_total{{sqlstate="{sqlstate}"}}' in series
    for reason in ("connection_failed", "server_error", "no_response"):
        assert f'vca_database_outages_total{{reason="{reason}"}}' in series


@pytest.mark.parametrize("sqlstate", ["57014", "55P03", "25P03"])
def test_timeouts_of_the_database_are_counted_by_sqlstate(
    read_value: ReadValue, sqlstate: str
) -> None:
    before = read_value("vca_database_timeouts_total", sqlstate=sqlstate)

    with pytest.raises(DatabaseBusy), public_session(database=app_services().database) as session:
        session.connection().exec_driver_sql(
            f"DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '{sqlstate}'; END $$"
        )

    assert read_value("vca_database_timeouts_total", sqlstate=sqlstate) == before + 1


def test_an_outage_is_counted_once_until_the_database_is_back(read_value: ReadValue) -> None:
    before = read_value("vca_database_outages_total", reason="connection_failed")
    database = open_database("postgresql://nobody@127.0.0.1:2/nowhere")

    for _ in range(3):
        with pytest.raises(DatabaseUnavailable), database.connection():
            pytest.fail("connected")

    assert read_value("vca_database_outages_total", reason="connection_failed") == before + 1


def test_jobs_are_counted_by_task_and_outcome(
    read_value: ReadValue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ValueError("no")

    failed_labels = {"task": "calls.dial", "outcome": "failed"}
    done_labels = {"task": "messages.mail", "outcome": "done"}
    before = (
        read_value("vca_jobs_total", **failed_labels),
        read_value("vca_jobs_total", **done_labels),
    )
    for task, function in (("calls.dial", fail), ("messages.mail", lambda: None)):
        run_job = worker_loop._with_budget(task, function, worker_loop.call_task)
        if function is fail:
            with pytest.raises(ValueError, match="no"):
                asyncio.run(run_job())
        else:
            asyncio.run(run_job())

    assert read_value("vca_jobs_total", **failed_labels) == before[0] + 1
    assert read_value("vca_jobs_total", **done_labels) == before[1] + 1


# --- Metrics from the database ------------------------------------------------------------------


def test_tenants_calls_and_failed_registrations_are_counted(
    read_value: ReadValue, world: Factory, acme: Tenant
) -> None:
    assert read_value("vca_database_up") == 1
    hooli = world.tenant("Hooli")
    active_tenants, live_calls = (
        read_value("vca_tenants", status="active"),
        read_value("vca_live_calls"),
    )
    failed_registrations = read_value("vca_failed_registrations")
    pending_mails = read_value("vca_pending_mails")
    number = acme.number()["did_number"]
    suspended_tenants = read_value("vca_tenants", status="suspended")
    world.platform().api.patch(hooli.url(), {"status": "suspended"})
    with public_session(database=app_services().database) as session:
        queue.enqueue(session, "calls.check", tenant_id=acme.id)
        queue.enqueue(session, "messages.mail", tenant_id=acme.id)
    with admin_db.public_session() as session:
        session.execute(
            text("UPDATE public.dids SET registration_status = 'failed' WHERE did_number = :n"),
            {"n": number},
        )

    assert read_value("vca_tenants", status="active") == active_tenants - 1
    assert read_value("vca_tenants", status="suspended") == suspended_tenants + 1
    assert read_value("vca_live_calls") == live_calls + 1
    assert read_value("vca_failed_registrations") == failed_registrations + 1
    assert read_value("vca_pending_mails") == pending_mails + 1
    with admin_db.public_session() as session:
        delete_jobs = "DELETE FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = :id"
        session.execute(text(delete_jobs), {"id": acme.id})


def test_outdated_tenants_and_overdue_jobs_are_reported(
    read_value: ReadValue, acme: Tenant
) -> None:
    outdated_count = read_value("vca_tenants_behind_head")
    set_revision = text("UPDATE public.tenants SET schema_revision = :revision WHERE id = :id")
    make_job_overdue = text(
        "UPDATE jobs.procrastinate_jobs SET scheduled_at = now() - interval '400 days'"
        " WHERE args->>'tenant_id' = :id"
    )
    acme.number()
    with admin_db.public_session() as session:
        session.execute(set_revision, {"revision": "0001", "id": acme.id})
        session.execute(make_job_overdue, {"id": acme.id})

    assert read_value("vca_tenants_behind_head") == outdated_count + 1
    assert read_value("vca_oldest_due_job_seconds") > 399 * 86_400

    with admin_db.public_session() as session:
        session.execute(set_revision, {"revision": "9999", "id": acme.id})  # ahead of this code
        delete = "DELETE FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = :id"
        session.execute(text(delete), {"id": acme.id})
    assert read_value("vca_tenants_behind_head") == outdated_count
    with admin_db.public_session() as session:
        session.execute(set_revision, {"revision": schema.head(), "id": acme.id})


def test_the_jobs_of_each_lane_are_counted_and_one_tenants_backlog_is_no_wait(
    read_value: ReadValue, scrape: Callable[[], ApiResponse], acme: Tenant, globex: Tenant
) -> None:
    add_jobs = text(
        "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, args, status, scheduled_at)"
        " SELECT 'calls', 'calls.dial', jsonb_build_object('tenant_id', :id),"
        " s.status::jobs.procrastinate_job_status, now() + make_interval(secs => s.secs)"
        " FROM (VALUES ('todo', -2e9), ('todo', -1e9), ('todo', 1e9), (:status, -1e9))"
        " AS s (status, secs)"
    )
    names = ("vca_lane_due_jobs", "vca_lane_running_jobs", "vca_lane_oldest_due_job_seconds")

    def read_calls() -> list[float]:
        return [read_value(name, lane="calls") for name in names]

    exported = scrape().text
    for name in names:
        for lane in ("calls", "deliveries", "batch"):
            assert f'{name}{{lane="{lane}"}}' in exported
    due, running, _ = read_calls()
    with admin_db.public_session() as session:
        session.execute(add_jobs, {"id": acme.id, "status": "doing"})

    due_with_running, running_with_running, wait_with_running = read_calls()
    with admin_db.public_session() as session:
        session.execute(add_jobs, {"id": globex.id, "status": "todo"})
    due_unserved, running_unserved, wait_unserved = read_calls()

    assert (due_with_running, running_with_running) == (due + 2, running + 1)
    assert wait_with_running < 1e9
    assert (due_unserved, running_unserved) == (due + 5, running + 1)
    assert 2e9 <= wait_unserved < 3e9
    assert read_value("vca_oldest_due_job_seconds") == pytest.approx(wait_unserved, abs=60)
    with admin_db.public_session() as session:
        delete = "DELETE FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' IN (:acme, :globex)"
        session.execute(text(delete), {"acme": acme.id, "globex": globex.id})


def test_metrics_of_the_process_need_no_database(
    read_value: ReadValue, database_unreachable: None
) -> None:
    assert read_value("vca_database_up") == 0
    assert read_value("vca_http_requests_total", method="GET", status_class="2xx") > 0
    assert read_value("vca_tenants", status="active") == 0
