"""`GET /metrics`: for whom it is, what it says, and that it says it without the database, too."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from tests.support import admin_db
from tests.support.api import Api, ApiResponse
from tests.support.carrier_client import BASE_PATH
from tests.support.factories import Factory, Tenant
from vca.jobs import queue, worker_loop
from vca.kit import db
from vca.kit.db import Database
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest
from vca.tenancy import schema
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import IsolationError, public_session, tenant_session

TOKEN = "a-token-of-the-test-suite-and-no-other"
Read = Callable[..., float]


@pytest.fixture
def scraped(app: Flask, anonymous: Api) -> Callable[[], ApiResponse]:
    """What Prometheus is answered."""
    app.config["METRICS_TOKEN"] = TOKEN
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return lambda: anonymous.send("GET", "/metrics", headers=dict(headers))


@pytest.fixture
def value(scraped: Callable[[], ApiResponse]) -> Read:
    """One series' value; 0 for one that is not there."""

    def read(name: str, **labels: str) -> float:
        answer = scraped()
        assert answer.status_code == 200, answer.text
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return 0.0

    return read


@pytest.fixture
def database_away(app: Flask) -> Iterator[None]:
    """Nobody listens where the database should be."""
    elsewhere = Database("postgresql://nobody@127.0.0.1:1/nowhere")
    before = db.current_database()
    db.set_current_database(elsewhere)
    yield
    db.set_current_database(before)
    elsewhere.close()


# --- For whom -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
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
def test_a_wrong_token_is_401(
    scraped: Callable[[], ApiResponse], anonymous: Api, given: str | None
) -> None:
    headers = {} if given is None else {"Authorization": given}

    answer = anonymous.send("GET", "/metrics", headers=headers)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "vca_" not in answer.text.replace("vca_…", "")


def test_no_api_key_opens_it(
    scraped: Callable[[], ApiResponse], acme: Tenant, world: Factory
) -> None:
    assert acme.api.get("/metrics").status_code == 401
    assert world.platform().api.get("/metrics").status_code == 401


def test_without_a_token_of_the_deployment_it_is_not_there(app: Flask, anonymous: Api) -> None:
    for given in ("Bearer ", "Bearer", f"Bearer {TOKEN}"):
        answer = anonymous.send("GET", "/metrics", headers={"Authorization": given})

        assert answer.status_code == 404


# --- What it says -------------------------------------------------------------------------------


def test_no_tenant_is_named(
    scraped: Callable[[], ApiResponse], acme: Tenant, globex: Tenant
) -> None:
    for tenant in (acme, globex):
        tenant.profile()
        tenant.say(tenant.simulate(tenant.number()["did_number"])["call_id"], "Hello?")

    told = scraped().text

    for tenant in (acme, globex):
        assert tenant.id not in told
        assert tenant.ref.schema not in told
    assert "+44" not in told


def test_requests_are_counted_by_method_and_class_of_status(value: Read, acme: Tenant) -> None:
    told = {"method": "GET", "status_class": "4xx"}
    before = value("vca_http_requests_total", **told)
    took = value("vca_http_request_seconds_count")

    acme.get("/nothing-here")

    assert value("vca_http_requests_total", **told) == before + 1
    assert value("vca_http_request_seconds_count") >= took + 2


def test_a_call_is_counted_when_it_begins_and_once_when_it_ends(value: Read, acme: Tenant) -> None:
    acme.profile(end_phrases=["goodbye"])
    kind = {"carrier": "fake", "simulated": "true"}
    begun = {"direction": "inbound", **kind}
    ended = {"end_reason": "agent_hangup", **kind}
    before = value("vca_calls_begun_total", **begun), value("vca_calls_ended_total", **ended)
    turns = value("vca_turn_seconds_count", stage="total")

    call = acme.simulate(acme.number()["did_number"])
    acme.say(call["call_id"], "Goodbye!")

    assert value("vca_calls_begun_total", **begun) == before[0] + 1
    assert value("vca_calls_ended_total", **ended) == before[1] + 1
    assert value("vca_turn_seconds_count", stage="total") == turns + 1


def test_forged_requests_of_carriers_are_counted(
    value: Read, anonymous: Api, carrier: FakeTelephonyAdapter
) -> None:
    before = value("vca_signature_failures_total", carrier="fake")
    genuine = carrier.signed_request("voice", BASE_PATH, call_id="forged", to="+14155550100")
    forged = CarrierRequest("voice", genuine.url, {}, genuine.body)

    answer = anonymous.send("POST", "/telephony/fake/voice", data=forged.body)

    assert answer.status_code == 403
    assert value("vca_signature_failures_total", carrier="fake") == before + 1


def test_an_isolation_alarm_is_counted(value: Read, acme: Tenant, globex: Tenant) -> None:
    before = value("vca_isolation_alarms_total")
    with admin_db.tenant_session(acme.ref) as session:
        session.execute(text("ALTER TYPE tenant_identity RENAME TO hidden"))

    with pytest.raises(IsolationError), tenant_session(TenantRef(acme.ref.id)):
        pass

    assert value("vca_isolation_alarms_total") == before + 1
    with admin_db.public_session() as session:
        session.execute(text(f'ALTER TYPE "{acme.ref.schema}".hidden RENAME TO tenant_identity'))


def test_waiting_for_a_connection_is_measured(value: Read, acme: Tenant) -> None:
    before = value("vca_pool_wait_seconds_count")

    acme.get("/calls")

    assert value("vca_pool_wait_seconds_count") >= before + 1


def test_jobs_are_counted_by_task_and_outcome(value: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("no")

    failed = {"task": "calls.dial", "outcome": "failed"}
    done = {"task": "messages.mail", "outcome": "done"}
    before = value("vca_jobs_total", **failed), value("vca_jobs_total", **done)
    for task, function in (("calls.dial", fail), ("messages.mail", lambda: None)):
        bounded = worker_loop._with_budget(task, function)
        if function is fail:
            with pytest.raises(ValueError, match="no"):
                bounded()
        else:
            bounded()

    assert value("vca_jobs_total", **failed) == before[0] + 1
    assert value("vca_jobs_total", **done) == before[1] + 1


# --- What the database says ---------------------------------------------------------------------


def test_the_database_is_asked_for_what_only_it_knows(
    value: Read, world: Factory, acme: Tenant
) -> None:
    assert value("vca_database_up") == 1
    hooli = world.tenant("Hooli")
    active, live = value("vca_tenants", status="active"), value("vca_live_calls")
    failed = value("vca_failed_registrations")
    number = acme.number()["did_number"]
    suspended = value("vca_tenants", status="suspended")
    world.platform().api.patch(hooli.url(), {"status": "suspended"})
    with public_session() as session:
        queue.enqueue(session, "calls.check", tenant_id=acme.id)
    with admin_db.public_session() as session:
        session.execute(
            text("UPDATE public.dids SET registration_status = 'failed' WHERE did_number = :n"),
            {"n": number},
        )

    assert value("vca_tenants", status="active") == active - 1
    assert value("vca_tenants", status="suspended") == suspended + 1
    assert value("vca_live_calls") == live + 1
    assert value("vca_failed_registrations") == failed + 1
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM jobs.procrastinate_jobs WHERE task_name = 'calls.check'"))


def test_tenants_behind_and_jobs_that_wait_are_told(value: Read, acme: Tenant) -> None:
    behind = value("vca_tenants_behind_head")
    set_to = text("UPDATE public.tenants SET schema_revision = :revision WHERE id = :id")
    age = text(
        "UPDATE jobs.procrastinate_jobs SET scheduled_at = now() - interval '400 days'"
        " WHERE args->>'tenant_id' = :id"
    )
    acme.number()
    with admin_db.public_session() as session:
        session.execute(set_to, {"revision": "0001", "id": acme.id})
        session.execute(age, {"id": acme.id})

    assert value("vca_tenants_behind_head") == behind + 1
    assert value("vca_oldest_due_job_seconds") > 399 * 86_400

    with admin_db.public_session() as session:
        session.execute(set_to, {"revision": "9999", "id": acme.id})  # ahead of this code
        delete = "DELETE FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = :id"
        session.execute(text(delete), {"id": acme.id})
    assert value("vca_tenants_behind_head") == behind
    with admin_db.public_session() as session:
        session.execute(set_to, {"revision": schema.head(), "id": acme.id})


def test_with_the_database_away_the_rest_is_still_told(value: Read, database_away: None) -> None:
    assert value("vca_database_up") == 0
    assert value("vca_http_requests_total", method="GET", status_class="2xx") > 0
    assert value("vca_tenants", status="active") == 0
