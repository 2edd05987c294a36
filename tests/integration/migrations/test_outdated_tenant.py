"""Tests of a tenant that is two revisions behind: API, calls and jobs are deferred or rejected."""

import pytest
from flask import Flask
from sqlalchemy import text

from tests.support import admin_db, migrate_command
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.jobs import run_due_jobs
from tests.support.revision_tree import NICKNAMES_SQL, RevisionTree
from tests.support.services import app_services
from vca.kit import json
from vca.registry.number_registry import service as number_registry
from vca.servers import worker
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy import schema
from vca.tenancy.schema import TenantUpgrading
from vca.tenancy.session import public_session, tenant_session


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def old_tenant(migration_world: Factory) -> Tenant:
    """Create a tenant with an agent, before the next revisions."""
    tenant = migration_world.tenant("Old")
    tenant.profile(greeting="Old here.")
    return tenant


@pytest.fixture
def number(old_tenant: Tenant) -> str:
    did_number: str = old_tenant.number()["did_number"]
    return did_number


@pytest.fixture
def two_new_revisions(revision_tree: RevisionTree, old_tenant: Tenant, number: str) -> RevisionTree:
    """Add two revisions, after which the tenant is outdated."""
    revision_tree.add_sql("nicknames", NICKNAMES_SQL)
    revision_tree.add_empty("second")
    return revision_tree


def _call_count(tenant: Tenant) -> int:
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return session.scalar(text("SELECT count(*) FROM calls")) or 0


def _unrouted_call_count(number: str) -> int:
    with public_session(database=app_services().database) as session:
        return sum(
            row.misses
            for row in number_registry.list_unrouted_numbers(session)
            if row.did_number == number
        )


def test_the_head_the_revision_before_and_newer_ones_are_supported(
    two_new_revisions: RevisionTree,
) -> None:
    head = schema.head()

    supported = (head, f"{int(head) - 1:04}", "9999")
    assert [schema.is_supported_revision(revision) for revision in supported] == [True] * 3
    assert not schema.is_supported_revision(f"{int(head) - 2:04}")


@pytest.mark.parametrize("path", ["/phone-numbers", "/calls", "/ai-profiles", "/settings"])
def test_reads_from_the_schema_return_503_with_retry_after(
    old_tenant: Tenant, two_new_revisions: RevisionTree, path: str
) -> None:
    response = old_tenant.get(path)

    assert (response.status_code, response.json["code"]) == (503, "tenant-upgrading")
    assert response.mimetype == "application/problem+json"
    assert int(response.headers["Retry-After"]) > 0


def test_writes_and_calls_return_503(
    old_tenant: Tenant, number: str, two_new_revisions: RevisionTree
) -> None:
    for path, body in (
        ("/phone-numbers", {"did_number": fresh_number()}),
        ("/simulations", {"to": number}),
        ("/routing/explain", {"to": number}),
    ):
        response = old_tenant.post(path, body)
        assert (response.status_code, response.json["code"]) == (503, "tenant-upgrading")
    assert _call_count(old_tenant) == 0


def test_authentication_and_authorization_precede_the_503(
    migration_world: Factory, old_tenant: Tenant, two_new_revisions: RevisionTree
) -> None:
    other_tenant = migration_world.tenant("Stranger")
    reader = migration_world.api(migration_world.key(old_tenant.id, scopes=["read"]))

    assert other_tenant.api.get(old_tenant.url("/calls")).status_code == 404
    assert migration_world.api(None).get(old_tenant.url("/calls")).status_code == 401
    assert reader.post(old_tenant.url("/ai-profiles"), {"system_prompt": "x"}).status_code == 403


def test_data_of_the_public_schema_is_served(
    migration_world: Factory, old_tenant: Tenant, two_new_revisions: RevisionTree, app: Flask
) -> None:
    platform: Platform = migration_world.platform()

    assert old_tenant.get().json["id"] == old_tenant.id
    assert platform.api.patch(old_tenant.url(), {"status": "suspended"}).status_code == 200
    assert old_tenant.get("/api-keys").status_code == 200


def test_other_tenants_are_served(
    migration_world: Factory,
    old_tenant: Tenant,
    two_new_revisions: RevisionTree,
    carrier_client: CarrierClient,
) -> None:
    other = migration_world.tenant("Other")
    migrate_command.run_migrate(migration_world, "--tenant", other.id)
    other.profile(greeting="Other here.")
    to = other.number()["did_number"]

    assert carrier_client.ring(to, "other-1")["actions"][0]["text"] == "Other here."
    assert len(other.get("/calls").json) == 1
    assert old_tenant.get("/calls").status_code == 503


def test_a_migrated_tenant_is_served_again(
    migration_world: Factory,
    old_tenant: Tenant,
    number: str,
    two_new_revisions: RevisionTree,
    carrier_client: CarrierClient,
) -> None:
    assert old_tenant.get("/calls").status_code == 503

    assert migrate_command.run_migrate(migration_world).migrated == 1

    assert old_tenant.get("/calls").json == []
    assert carrier_client.ring(number, "again-1")["actions"][0]["text"] == "Old here."


def test_callers_hear_the_tenants_fallback_sentence_and_no_call_is_stored(
    old_tenant: Tenant, number: str, carrier_client: CarrierClient, revision_tree: RevisionTree
) -> None:
    old_tenant.patch("/settings", {"sentences": {"fallback": "We are moving house."}})
    revision_tree.add_sql("nicknames", NICKNAMES_SQL)
    revision_tree.add_empty("second")

    ring_response = carrier_client.ring(number, "old-1")

    assert [action["type"] for action in ring_response["actions"]] == ["say", "hang_up"]
    assert ring_response["actions"][0]["text"] == "We are moving house."
    assert ring_response["state"] is None
    assert _call_count(old_tenant) == 0
    assert _unrouted_call_count(number) == 1


def test_callers_are_forwarded_to_the_fallback_number(
    old_tenant: Tenant, carrier_client: CarrierClient, revision_tree: RevisionTree
) -> None:
    fallback_number = fresh_number()
    number = old_tenant.number(fallback_number=fallback_number)["did_number"]
    revision_tree.add_sql("nicknames", NICKNAMES_SQL)
    revision_tree.add_empty("second")

    assert carrier_client.ring(number, "old-1")["actions"] == [
        {"type": "forward", "number": fallback_number}
    ]


def test_callers_hear_the_default_sentence_if_the_fallback_is_unreadable(
    old_tenant: Tenant, number: str, two_new_revisions: RevisionTree, carrier_client: CarrierClient
) -> None:
    migrate_command.execute_in(old_tenant, "ALTER TABLE settings RENAME sentences TO texts")

    ring_response = carrier_client.ring(number, "old-1")

    assert [action["type"] for action in ring_response["actions"]] == ["say", "hang_up"]
    assert "call again" in ring_response["actions"][0]["text"]


def test_later_events_of_unanswered_calls_are_accepted(
    old_tenant: Tenant, number: str, two_new_revisions: RevisionTree, carrier_client: CarrierClient
) -> None:
    carrier_client.ring(number, "old-1")

    assert carrier_client.send_status("old-1", "completed", to=number)["actions"] == []
    assert _call_count(old_tenant) == 0


def test_a_live_call_ends_with_a_sentence_and_its_event_is_retried(
    migration_world: Factory,
    carrier: FakeTelephonyAdapter,
    old_tenant: Tenant,
    number: str,
    carrier_client: CarrierClient,
    revision_tree: RevisionTree,
) -> None:
    state = carrier_client.ring(number, "live-1")["state"]
    revision_tree.add_sql("nicknames", NICKNAMES_SQL)
    revision_tree.add_empty("second")
    status_request = carrier.signed_request(
        "status", "/telephony/fake/", call_id="live-1", status="completed", state=state
    )

    say_response = carrier_client.say("live-1", state, "Are you there?")
    first_response = carrier_client.send(status_request)
    migrate_command.run_migrate(migration_world)
    second_response = carrier_client.send(status_request)

    assert [action["type"] for action in say_response["actions"]] == ["say", "hang_up"]
    assert (first_response.status_code, first_response.json["code"]) == (503, "tenant-upgrading")
    assert "Retry-After" in first_response.headers
    assert second_response.status_code == 200
    assert old_tenant.get("/calls").json[0]["status"] == "completed"


def test_jobs_are_rescheduled_until_the_tenant_is_migrated(
    migration_world: Factory,
    old_tenant: Tenant,
    number: str,
    two_new_revisions: RevisionTree,
    carrier: FakeTelephonyAdapter,
) -> None:
    jobs_sql = text(
        "SELECT status::text, scheduled_at > now() FROM jobs.procrastinate_jobs"
        " WHERE args->>'tenant_id' = :id AND task_name = 'phone_numbers.register'"
    )

    run_due_jobs()

    with admin_db.public_session() as session:
        jobs = [tuple(row) for row in session.execute(jobs_sql, {"id": old_tenant.id})]
    assert jobs == [("todo", True)]
    assert list(carrier.operations) == []
    migrate_command.run_migrate(migration_world)
    assert "phone_numbers.register" in migration_world.run_jobs(old_tenant, include_scheduled=True)
    assert [operation for operation, _ in carrier.operations] == ["register_number"]


def test_no_task_is_called_for_an_outdated_tenant(
    old_tenant: Tenant, two_new_revisions: RevisionTree
) -> None:
    with pytest.raises(TenantUpgrading):
        worker.run_task(
            lambda: pytest.fail("called"), {"tenant_id": old_tenant.id}, services=app_services()
        )


def test_the_simulate_command_prints_that_the_tenant_is_upgraded(
    migration_world: Factory, number: str, two_new_revisions: RevisionTree
) -> None:
    result = migrate_command.run_flask(migration_world, "calls", "simulate", number)

    assert result.exit_code == 1
    assert "being upgraded" in result.output


def test_the_openapi_document_describes_the_503_of_tenant_routes(app: Flask) -> None:
    paths = json.loads(app.extensions["openapi"].render())["paths"]

    def description_of_503(path: str) -> str:
        description: str = paths[path]["get"]["responses"]["503"]["description"]
        return description

    assert "tenant-upgrading" in description_of_503("/api/tenants/{tenant_id}/phone-numbers")
    assert "tenant-upgrading" not in description_of_503("/api/tenants")
    assert "tenant-upgrading" not in description_of_503("/api/tenants/{tenant_id}")
