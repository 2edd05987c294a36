"""Retention of what systems told each other, and of what was said: by one waiting job of a kind."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from tests.support import admin_db
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant
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
    """The carrier's line into the product."""
    return CarrierClient(carrier, world.api(None))


def _call(tenant: Tenant, line: CarrierClient, name: str) -> dict[str, Any]:
    """A call that has ended, with a detail, metadata and a message."""
    number = tenant.number()["did_number"]
    state = line.ring(number, name)["state"]
    line.send_status(name, "completed", state=state, code="carrier says")
    call: dict[str, Any] = tenant.get("/calls").json[0]
    with tenant_session(tenant.ref) as session:
        session.execute(update(Call).values(call_metadata={"order": "A-1"}))
        messages.create(session, call_id=call["id"], kind="message", caller_number=None, reason="x")
    return call


def _waiting(tenant: Tenant, task: str) -> int:
    wanted = text(
        "SELECT count(*) FROM jobs.procrastinate_jobs WHERE status = 'todo'"
        " AND task_name = :task AND args->>'tenant_id' = :id"
    )
    with admin_db.public_session() as session:
        return session.scalar(wanted, {"task": task, "id": tenant.id}) or 0


def _details(tenant: Tenant) -> list[Any]:
    with tenant_session(tenant.ref) as session:
        return list(session.scalars(select(Event.details).where(Event.event_type == "ENDED")))


def _keep(tenant: Tenant, **days: int) -> None:
    assert tenant.patch("/settings", {"retention_days": days}).status_code == 200


def test_details_and_metadata_go_when_their_days_are_over_and_not_before(
    acme: Tenant, globex: Tenant, carrier_client: CarrierClient
) -> None:
    for tenant in (acme, globex):
        tenant.profile()
        _keep(tenant, payloads=10)
        _call(tenant, carrier_client, f"call-{tenant.id}")

    early = retention.purge_payloads(acme.ref, now=clock.now() + timedelta(days=9))
    assert _details(acme)[0]["end_reason"]
    due = retention.purge_payloads(acme.ref, now=clock.now() + timedelta(days=11))

    assert (early, due) == (0, 1)
    assert _details(acme) == [{}]
    [call] = acme.get("/calls").json
    assert (call["metadata"], call["end_reason"]) == ({}, "caller_hangup")
    assert _details(globex)[0]["end_reason"]
    assert retention.purge_payloads(acme.ref, now=clock.now() + timedelta(days=12)) == 0


def test_the_end_of_a_call_orders_one_job_that_forgets_payloads(
    acme: Tenant, carrier_client: CarrierClient
) -> None:
    acme.profile()
    _call(acme, carrier_client, "before")
    assert _waiting(acme, retention.PURGE_PAYLOADS) == 0
    _keep(acme, payloads=10)
    for name in ("one", "two"):
        _call(acme, carrier_client, f"{name}-{acme.id}")

    assert _waiting(acme, retention.PURGE_PAYLOADS) == 1


def test_a_changed_setting_looks_at_what_is_there_already(
    acme: Tenant, world: Factory, carrier_client: CarrierClient
) -> None:
    acme.profile()
    _call(acme, carrier_client, "old")
    world.sql(acme, "UPDATE calls SET ended_at = ended_at - interval '5 days'")

    _keep(acme, payloads=3)
    done = world.run_jobs(acme)

    assert "calls.forget_payloads" in done
    assert _details(acme) == [{}]


def test_without_the_setting_payloads_are_kept(acme: Tenant, carrier_client: CarrierClient) -> None:
    acme.profile()
    _call(acme, carrier_client, "kept")

    assert retention.purge_payloads(acme.ref, now=clock.now() + timedelta(days=4_000)) == 0
    assert _details(acme)[0]["end_reason"]


def test_what_was_told_goes_sooner_where_the_tenant_wants_that_and_what_waits_stays(
    acme: Tenant, world: Factory, carrier_client: CarrierClient
) -> None:
    acme.profile()
    with tenant_session(acme.ref) as session:
        endpoints.create(session, tenant_scope.for_tenant(acme.ref), url="https://8.8.8.8/in")
    _call(acme, carrier_client, "told")
    world.sql(
        acme,
        "UPDATE webhook_deliveries SET created_at = created_at - interval '5 days',"
        " status = CASE type WHEN 'call.ended' THEN 'pending' ELSE 'delivered' END",
    )
    with admin_db.tenant_session(acme.ref) as session:
        session.execute(text("UPDATE events SET created_at = created_at - interval '5 days'"))

    _keep(acme, payloads=3)
    queue.TASKS["webhooks.forget"](tenant_id=acme.id)

    with tenant_session(acme.ref) as session:
        assert session.scalars(select(Delivery.type)).all() == ["call.ended"]
        assert session.scalar(select(func.count()).select_from(WebhookEvent)) == 0


def test_messages_go_with_what_was_said_and_voicemail_with_its_audio(
    acme: Tenant, carrier_client: CarrierClient
) -> None:
    acme.profile()
    _keep(acme, transcripts=10)
    call = _call(acme, carrier_client, "said")
    with tenant_session(acme.ref) as session:
        messages.create(session, call_id=call["id"], kind="voicemail", caller_number=None)

    retention.purge_transcripts(acme.ref, now=clock.now() + timedelta(days=11))

    with tenant_session(acme.ref) as session:
        assert session.scalars(select(Message.kind)).all() == ["voicemail"]
    assert acme.get(f"/calls/{call['id']}/turns").json == []
