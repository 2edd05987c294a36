"""The database functions with which an erasure changes rows outside the tenant's schema.

They change only jobs and platform webhook events of the tenant whose session calls them.
"""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support import admin_db, erasure_fixture
from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.kit import clock
from vca.registry.webhooks import endpoints
from vca.registry.webhooks.platform_scope import PLATFORM_SCOPE
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.privacy.data_subject import DataSubject
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

SUBJECT = erasure_fixture.create_subject()
PATTERN = {"pattern": DataSubject(SUBJECT.number).literal_pattern}


def _execute(tenant: Tenant, statement: str, **values: Any) -> list[Any]:
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return list(session.execute(text(statement), values).all())


def _list_jobs(tenant: Tenant) -> list[tuple[str, str]]:
    query = text(
        "SELECT status::text, args->>'data' FROM jobs.procrastinate_jobs"
        " WHERE task_name = 'webhooks.tell' AND args->>'tenant_id' = :id ORDER BY 1"
    )
    with admin_db.public_session() as session:
        return [(status, data) for status, data in session.execute(query, {"id": tenant.id})]


def test_a_tenant_deletes_and_rewords_only_its_own_jobs(acme: Tenant, globex: Tenant) -> None:
    for tenant in (acme, globex):
        erasure_fixture.enqueue_jobs_naming(tenant, SUBJECT)
    foreign_jobs = _list_jobs(globex)
    [(foreign_id, *_)] = _execute(globex, "SELECT * FROM jobs.naming(:pattern)", **PATTERN)

    deleted = _execute(acme, "SELECT jobs.forget_finished(:pattern)", **PATTERN)
    [(own_id, _, is_running)] = _execute(acme, "SELECT * FROM jobs.naming(:pattern)", **PATTERN)
    reword = 'SELECT jobs.reword(:id, \'{"data": "gone"}\')'
    reworded = [_execute(acme, reword, id=job_id) for job_id in (own_id, foreign_id)]

    assert (deleted, is_running, reworded) == ([(1,)], False, [[(True,)], [(False,)]])
    assert _list_jobs(acme) == [("todo", "gone")]
    assert _list_jobs(globex) == foreign_jobs


def test_a_tenant_cannot_change_platform_events_of_another_tenant(
    acme: Tenant, globex: Tenant
) -> None:
    event = Event("call.ended", {"call_id": str(uuid4()), "outcome": SUBJECT.phrase})
    with public_session(database=app_services().database) as session:
        endpoints.create(
            session, PLATFORM_SCOPE, url="https://example.com/", services=app_services()
        )
    with tenant_session(globex.ref, database=app_services().database) as session:
        events.emit(session, event, now=clock.now())
    statement = "SELECT public.forget_told(CAST(:events AS uuid[]))"

    by_acme = _execute(acme, statement, events=[str(event.id)])
    before = _stored_payload(event)
    by_globex = _execute(globex, statement, events=[str(event.id)])

    assert (by_acme, by_globex) == ([(0,)], [(1,)])
    assert before["data"]["outcome"] == SUBJECT.phrase
    assert set(_stored_payload(event)["data"]) == {"tenant_id", "simulated", "call_id"}


def _stored_payload(event: Event) -> Any:
    """Return the stored payload of a platform event, and deactivate the platform's webhooks."""
    with admin_db.public_session() as session:
        query = text("SELECT payload FROM public.webhook_deliveries WHERE event_id = :id")
        payload = session.scalars(query, {"id": event.id}).one()
        session.execute(text("UPDATE public.webhooks SET is_active = false"))
    return payload


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT jobs.forget_finished('.')",
        "SELECT * FROM jobs.naming('.')",
        "SELECT jobs.reword(:waiting, '{}')",
    ],
)
def test_the_job_functions_fail_outside_a_tenant_session(acme: Tenant, statement: str) -> None:
    """Each statement matches an existing job, because a function may check the tenant last."""
    erasure_fixture.enqueue_jobs_naming(acme, SUBJECT)
    [(waiting_id, *_)] = _execute(acme, "SELECT * FROM jobs.naming(:pattern)", **PATTERN)

    with (
        pytest.raises(DBAPIError, match="in no tenant"),
        public_session(database=app_services().database) as session,
    ):
        session.execute(text(statement), {"waiting": waiting_id})
