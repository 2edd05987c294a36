"""What erasing may do outside of a tenant's schema: to the acting tenant's jobs and told events."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support import admin_db, erasure_fixture
from tests.support.factories import Tenant
from vca.kit import clock
from vca.registry.webhooks import endpoints
from vca.registry.webhooks.platform_scope import PLATFORM_SCOPE
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.privacy.data_subject import DataSubject
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

WHO = erasure_fixture.create_subject()
PATTERN = {"pattern": DataSubject(WHO.number).pattern}


def _asked(tenant: Tenant, statement: str, **values: Any) -> list[Any]:
    with tenant_session(tenant.ref) as session:
        return list(session.execute(text(statement), values).all())


def _jobs(tenant: Tenant) -> list[tuple[str, str]]:
    wanted = text(
        "SELECT status::text, args->>'data' FROM jobs.procrastinate_jobs"
        " WHERE task_name = 'webhooks.tell' AND args->>'tenant_id' = :id ORDER BY 1"
    )
    with admin_db.public_session() as session:
        return [(status, data) for status, data in session.execute(wanted, {"id": tenant.id})]


def test_a_tenant_forgets_and_rewords_its_own_jobs_only(acme: Tenant, globex: Tenant) -> None:
    for tenant in (acme, globex):
        erasure_fixture.enqueue_jobs_naming(tenant, WHO)
    theirs = _jobs(globex)
    [(foreign, *_)] = _asked(globex, "SELECT * FROM jobs.naming(:pattern)", **PATTERN)

    forgotten = _asked(acme, "SELECT jobs.forget_finished(:pattern)", **PATTERN)
    [(own, _, doing)] = _asked(acme, "SELECT * FROM jobs.naming(:pattern)", **PATTERN)
    reword = 'SELECT jobs.reword(:id, \'{"data": "gone"}\')'
    reworded = [_asked(acme, reword, id=id) for id in (own, foreign)]

    assert (forgotten, doing, reworded) == ([(1,)], False, [[(True,)], [(False,)]])
    assert _jobs(acme) == [("todo", "gone")]
    assert _jobs(globex) == theirs


def test_what_operators_are_told_of_another_tenant_stays(acme: Tenant, globex: Tenant) -> None:
    told = Event("call.ended", {"call_id": str(uuid4()), "outcome": WHO.phrase})
    with public_session() as session:
        endpoints.create(session, PLATFORM_SCOPE, url="https://example.com/")
    with tenant_session(globex.ref) as session:
        events.emit(session, told, now=clock.now())
    forget = "SELECT public.forget_told(CAST(:events AS uuid[]))"

    by_acme = _asked(acme, forget, events=[str(told.id)])
    before = _payload(told)
    by_globex = _asked(globex, forget, events=[str(told.id)])

    assert (by_acme, by_globex) == ([(0,)], [(1,)])
    assert before["data"]["outcome"] == WHO.phrase
    assert set(_payload(told)["data"]) == {"tenant_id", "simulated", "call_id"}


def _payload(told: Event) -> Any:
    with admin_db.public_session() as session:
        wanted = text("SELECT payload FROM public.webhook_deliveries WHERE event_id = :id")
        found = session.scalars(wanted, {"id": told.id}).one()
        session.execute(text("UPDATE public.webhooks SET is_active = false"))
    return found


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT jobs.forget_finished('.')",
        "SELECT * FROM jobs.naming('.')",
        "SELECT jobs.reword(:waiting, '{}')",
    ],
)
def test_outside_of_a_tenant_nothing_of_it_can_be_done(acme: Tenant, statement: str) -> None:
    """Each names a job that there is: in which tenant it is asked may be looked at last."""
    erasure_fixture.enqueue_jobs_naming(acme, WHO)
    [(waiting, *_)] = _asked(acme, "SELECT * FROM jobs.naming(:pattern)", **PATTERN)

    with pytest.raises(DBAPIError, match="in no tenant"), public_session() as session:
        session.execute(text(statement), {"waiting": waiting})
