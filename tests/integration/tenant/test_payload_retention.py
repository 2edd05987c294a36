"""Retention of payloads and transcripts.

Each kind of retention has at most one waiting job for each tenant.
"""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from tests.support import admin_db
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services
from vca.jobs import queue
from vca.kit import clock
from vca.registry.webhooks import endpoints
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import retention
from vca.tenant.calls.core.models import Call, Event
from vca.tenant.messages import service as messages
from vca.tenant.messages.models import Message
from vca.tenant.webhooks import tenant_scope
from vca.tenant.webhooks.models import Delivery, WebhookEvent


@pytest.fixture
def carrier_client(world: Factory, carrier: FakeTelephonyAdapter) -> CarrierClient:
    """Return a client that sends the requests of the deployment's carrier."""
    return CarrierClient(carrier, world.api(None))


def _create_ended_call(
    tenant: Tenant, carrier_client: CarrierClient, provider_call_id: str
) -> dict[str, Any]:
    """Create a call that has ended, with event details, metadata and a message; return it."""
    number = tenant.number()["did_number"]
    state = carrier_client.ring(number, provider_call_id)["state"]
    carrier_client.send_status(provider_call_id, "completed", state=state, code="carrier says")
    call: dict[str, Any] = tenant.get("/calls").json[0]
    with tenant_session(tenant.ref, database=app_services().database) as session:
        session.execute(update(Call).values(call_metadata={"order": "A-1"}))
        messages.create(
            session,
            call_id=call["id"],
            kind="message",
            caller_number=None,
            reason="x",
            services=app_services(),
        )
    return call


def _count_waiting_jobs(tenant: Tenant, task: str) -> int:
    query = text(
        "SELECT count(*) FROM jobs.procrastinate_jobs WHERE status = 'todo'"
        " AND task_name = :task AND args->>'tenant_id' = :id"
    )
    with admin_db.public_session() as session:
        return session.scalar(query, {"task": task, "id": tenant.id}) or 0


def _list_due_jobs(tenant: Tenant) -> set[str]:
    query = text(
        "SELECT task_name FROM jobs.procrastinate_jobs WHERE status = 'todo'"
        " AND coalesce(scheduled_at <= now(), true) AND args->>'tenant_id' = :id"
    )
    with admin_db.public_session() as session:
        return set(session.scalars(query, {"id": tenant.id}))


def _ended_event_details(tenant: Tenant) -> list[Any]:
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return list(session.scalars(select(Event.details).where(Event.event_type == "ENDED")))


def _set_retention_days(tenant: Tenant, **days: int) -> None:
    assert tenant.patch("/settings", {"retention_days": days}).status_code == 200


def test_details_and_metadata_are_deleted_after_the_retention_period(
    acme: Tenant, globex: Tenant, carrier_client: CarrierClient
) -> None:
    for tenant in (acme, globex):
        tenant.profile()
        _set_retention_days(tenant, payloads=10)
        _create_ended_call(tenant, carrier_client, f"call-{tenant.id}")

    early = retention.purge_payloads(
        acme.ref, now=clock.now() + timedelta(days=9), services=app_services()
    )
    assert _ended_event_details(acme)[0]["end_reason"]
    due = retention.purge_payloads(
        acme.ref, now=clock.now() + timedelta(days=11), services=app_services()
    )

    assert (early, due) == (0, 1)
    assert _ended_event_details(acme) == [{}]
    [call] = acme.get("/calls").json
    assert (call["metadata"], call["end_reason"]) == ({}, "caller_hangup")
    assert _ended_event_details(globex)[0]["end_reason"]
    assert (
        retention.purge_payloads(
            acme.ref, now=clock.now() + timedelta(days=12), services=app_services()
        )
        == 0
    )


def test_ended_calls_enqueue_one_job_that_purges_payloads(
    acme: Tenant, carrier_client: CarrierClient
) -> None:
    acme.profile()
    _create_ended_call(acme, carrier_client, "before")
    assert _count_waiting_jobs(acme, retention.PURGE_PAYLOADS) == 0
    _set_retention_days(acme, payloads=10)
    for name in ("one", "two"):
        _create_ended_call(acme, carrier_client, f"{name}-{acme.id}")

    assert _count_waiting_jobs(acme, retention.PURGE_PAYLOADS) == 1


def test_a_changed_retention_period_applies_to_existing_payloads(
    acme: Tenant, world: Factory, carrier_client: CarrierClient
) -> None:
    acme.profile()
    _create_ended_call(acme, carrier_client, "old")
    world.sql(acme, "UPDATE calls SET ended_at = ended_at - interval '5 days'")

    _set_retention_days(acme, payloads=3)
    due_jobs = _list_due_jobs(acme)
    world.run_jobs(acme)

    assert {"calls.forget_payloads", "webhooks.forget"} <= due_jobs
    assert _ended_event_details(acme) == [{}]


def test_payloads_are_not_deleted_without_a_retention_period(
    acme: Tenant, carrier_client: CarrierClient
) -> None:
    acme.profile()
    _create_ended_call(acme, carrier_client, "kept")

    assert (
        retention.purge_payloads(
            acme.ref, now=clock.now() + timedelta(days=4_000), services=app_services()
        )
        == 0
    )
    assert _ended_event_details(acme)[0]["end_reason"]


def test_a_shorter_retention_deletes_events_but_no_pending_delivery(
    acme: Tenant, world: Factory, carrier_client: CarrierClient
) -> None:
    acme.profile()
    with tenant_session(acme.ref, database=app_services().database) as session:
        endpoints.create(
            session,
            tenant_scope.for_tenant(acme.ref),
            url="https://8.8.8.8/in",
            services=app_services(),
        )
    _create_ended_call(acme, carrier_client, "told")
    world.sql(
        acme,
        "UPDATE webhook_deliveries SET created_at = created_at - interval '5 days',"
        " status = CASE type WHEN 'call.ended' THEN 'pending' ELSE 'delivered' END",
    )
    with admin_db.tenant_session(acme.ref) as session:
        session.execute(text("UPDATE events SET created_at = created_at - interval '5 days'"))

    _set_retention_days(acme, payloads=3)
    queue.TASKS["webhooks.forget"](services=app_services(), tenant_id=acme.id)

    with tenant_session(acme.ref, database=app_services().database) as session:
        assert session.scalars(select(Delivery.type)).all() == ["call.ended"]
        assert session.scalar(select(func.count()).select_from(WebhookEvent)) == 0


def test_messages_are_deleted_with_transcripts_and_voicemails_are_not(
    acme: Tenant, carrier_client: CarrierClient
) -> None:
    acme.profile()
    _set_retention_days(acme, transcripts=10)
    call = _create_ended_call(acme, carrier_client, "said")
    with tenant_session(acme.ref, database=app_services().database) as session:
        messages.create(
            session,
            call_id=call["id"],
            kind="voicemail",
            caller_number=None,
            services=app_services(),
        )

    retention.purge_transcripts(
        acme.ref, now=clock.now() + timedelta(days=11), services=app_services()
    )

    with tenant_session(acme.ref, database=app_services().database) as session:
        assert session.scalars(select(Message.kind)).all() == ["voicemail"]
    assert acme.get(f"/calls/{call['id']}/turns").json == []
