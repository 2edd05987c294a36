"""A tenant two revisions behind: 503 and a fallback for it, nothing at all for the others."""

from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import text

from tests.support import admin_db, migrate_command
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.revision_tree import NICKNAMES_SQL, RevisionTree
from vca.jobs import queue, worker_loop
from vca.kit import json
from vca.registry.number_registry import service as dids
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy import schema
from vca.tenancy.schema import TenantUpgrading
from vca.tenancy.session import public_session, tenant_session


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def old_tenant(migration_world: Factory) -> Tenant:
    """A tenant that an agent answers for; it is not migrated."""
    tenant = migration_world.tenant("Old")
    tenant.profile(greeting="Old here.")
    return tenant


@pytest.fixture
def number(old_tenant: Tenant) -> str:
    found: str = old_tenant.number()["did_number"]
    return found


@pytest.fixture
def later(revision_tree: RevisionTree, old_tenant: Tenant, number: str) -> RevisionTree:
    """The code is two revisions further by now."""
    revision_tree.add_sql("nicknames", NICKNAMES_SQL)
    revision_tree.add_empty("second")
    return revision_tree


def _calls(tenant: Tenant) -> int:
    with tenant_session(tenant.ref) as session:
        return session.scalar(text("SELECT count(*) FROM calls")) or 0


def _misses(number: str) -> int:
    with public_session() as session:
        return sum(
            miss.misses for miss in dids.list_unrouted_numbers(session) if miss.did_number == number
        )


def test_head_and_the_one_before_and_what_is_ahead_are_supported(later: RevisionTree) -> None:
    head = schema.head()

    assert [schema.is_supported_revision(it) for it in (head, f"{int(head) - 1:04}", "9999")] == [
        True
    ] * 3
    assert not schema.is_supported_revision(f"{int(head) - 2:04}")


@pytest.mark.parametrize("path", ["/phone-numbers", "/calls", "/ai-profiles", "/settings"])
def test_reading_from_its_schema_is_503_and_says_when_to_come_back(
    old_tenant: Tenant, later: RevisionTree, path: str
) -> None:
    answer = old_tenant.get(path)

    assert (answer.status_code, answer.json["code"]) == (503, "tenant-upgrading")
    assert answer.mimetype == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0


def test_what_writes_and_what_calls_out_is_503_as_well(
    old_tenant: Tenant, number: str, later: RevisionTree
) -> None:
    for path, body in (
        ("/phone-numbers", {"did_number": fresh_number()}),
        ("/simulations", {"to": number}),
        ("/routing/explain", {"to": number}),
    ):
        answer = old_tenant.post(path, body)
        assert (answer.status_code, answer.json["code"]) == (503, "tenant-upgrading")
    assert _calls(old_tenant) == 0


def test_it_is_503_after_the_guard_and_not_before(
    migration_world: Factory, old_tenant: Tenant, later: RevisionTree
) -> None:
    stranger = migration_world.tenant("Stranger")
    reader = migration_world.api(migration_world.key(old_tenant.id, scopes=["read"]))

    assert stranger.api.get(old_tenant.url("/calls")).status_code == 404
    assert migration_world.api(None).get(old_tenant.url("/calls")).status_code == 401
    assert reader.post(old_tenant.url("/ai-profiles"), {"system_prompt": "x"}).status_code == 403


def test_what_is_in_public_alone_is_served(
    migration_world: Factory, old_tenant: Tenant, later: RevisionTree, app: Flask
) -> None:
    platform: Platform = migration_world.platform()

    assert old_tenant.get().json["id"] == old_tenant.id
    assert platform.api.patch(old_tenant.url(), {"status": "suspended"}).status_code == 200
    assert old_tenant.get("/api-keys").status_code == 200


def test_others_are_served_meanwhile(
    migration_world: Factory, old_tenant: Tenant, later: RevisionTree, carrier_client: CarrierClient
) -> None:
    other = migration_world.tenant("Other")
    migrate_command.run_migrate(migration_world, "--tenant", other.id)
    other.profile(greeting="Other here.")
    to = other.number()["did_number"]

    assert carrier_client.ring(to, "other-1")["actions"][0]["text"] == "Other here."
    assert len(other.get("/calls").json) == 1
    assert old_tenant.get("/calls").status_code == 503


def test_once_it_is_migrated_it_is_served_again(
    migration_world: Factory,
    old_tenant: Tenant,
    number: str,
    later: RevisionTree,
    carrier_client: CarrierClient,
) -> None:
    assert old_tenant.get("/calls").status_code == 503

    assert migrate_command.run_migrate(migration_world).migrated == 1

    assert old_tenant.get("/calls").json == []
    assert carrier_client.ring(number, "again-1")["actions"][0]["text"] == "Old here."


def test_its_callers_hear_its_fallback_sentence_and_no_row_is_written(
    old_tenant: Tenant, number: str, carrier_client: CarrierClient, revision_tree: RevisionTree
) -> None:
    old_tenant.patch("/settings", {"sentences": {"fallback": "We are moving house."}})
    revision_tree.add_sql("nicknames", NICKNAMES_SQL)
    revision_tree.add_empty("second")

    answer = carrier_client.ring(number, "old-1")

    assert [action["type"] for action in answer["actions"]] == ["say", "hang_up"]
    assert answer["actions"][0]["text"] == "We are moving house."
    assert answer["state"] is None
    assert _calls(old_tenant) == 0
    assert _misses(number) == 1


def test_its_callers_reach_the_numbers_fallback_number(
    old_tenant: Tenant, carrier_client: CarrierClient, revision_tree: RevisionTree
) -> None:
    reserve = fresh_number()
    number = old_tenant.number(fallback_number=reserve)["did_number"]
    revision_tree.add_sql("nicknames", NICKNAMES_SQL)
    revision_tree.add_empty("second")

    assert carrier_client.ring(number, "old-1")["actions"] == [
        {"type": "forward", "number": reserve}
    ]


def test_where_even_the_fallback_cannot_be_read_the_caller_hears_ours(
    old_tenant: Tenant, number: str, later: RevisionTree, carrier_client: CarrierClient
) -> None:
    migrate_command.execute_in(old_tenant, "ALTER TABLE settings RENAME sentences TO phrases")

    answer = carrier_client.ring(number, "old-1")

    assert [action["type"] for action in answer["actions"]] == ["say", "hang_up"]
    assert "call again" in answer["actions"][0]["text"]


def test_later_events_of_such_calls_are_taken_politely(
    old_tenant: Tenant, number: str, later: RevisionTree, carrier_client: CarrierClient
) -> None:
    carrier_client.ring(number, "old-1")

    assert carrier_client.send_status("old-1", "completed", to=number)["actions"] == []
    assert _calls(old_tenant) == 0


def test_a_call_that_went_on_meanwhile_ends_politely_and_its_event_comes_again(
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
    ended = carrier.signed_request(
        "status", "/telephony/fake/", call_id="live-1", status="completed", state=state
    )

    said = carrier_client.say("live-1", state, "Are you there?")
    refused = carrier_client.send(ended)
    migrate_command.run_migrate(migration_world)
    taken = carrier_client.send(ended)

    assert [action["type"] for action in said["actions"]] == ["say", "hang_up"]
    assert (refused.status_code, refused.json["code"]) == (503, "tenant-upgrading")
    assert "Retry-After" in refused.headers
    assert taken.status_code == 200
    assert old_tenant.get("/calls").json[0]["status"] == "completed"


def test_its_jobs_are_tried_again_later(
    migration_world: Factory,
    old_tenant: Tenant,
    number: str,
    later: RevisionTree,
    carrier: FakeTelephonyAdapter,
) -> None:
    waiting = text(
        "SELECT status::text, scheduled_at > now() FROM jobs.procrastinate_jobs"
        " WHERE args->>'tenant_id' = :id AND task_name = 'phone_numbers.register'"
    )

    worker_loop.run_worker(admin_db.database_url(), wait=False)

    with admin_db.public_session() as session:
        found = [tuple(row) for row in session.execute(waiting, {"id": old_tenant.id})]
    assert found == [("todo", True)]
    assert list(carrier.operations) == []
    migrate_command.run_migrate(migration_world)
    assert "phone_numbers.register" in migration_world.run_jobs(old_tenant, include_scheduled=True)
    assert [what for what, _ in carrier.operations] == ["register_number"]


def test_the_gate_of_jobs_asks_for_the_tenants_revision(
    old_tenant: Tenant, later: RevisionTree
) -> None:
    assert queue._admission_check is not None
    with pytest.raises(TenantUpgrading):
        queue._admission_check(UUID(old_tenant.id))


def test_the_terminals_telephone_says_why_it_does_not_ring(
    migration_world: Factory, number: str, later: RevisionTree
) -> None:
    result = migrate_command.run_flask(migration_world, "calls", "simulate", number)

    assert result.exit_code == 1
    assert "being upgraded" in result.output


def test_the_document_tells_of_it_where_it_can_happen(app: Flask) -> None:
    paths = json.loads(app.extensions["openapi"])["paths"]

    def told(path: str) -> str:
        text: str = paths[path]["get"]["responses"]["503"]["description"]
        return text

    assert "tenant-upgrading" in told("/api/tenants/{tenant_id}/phone-numbers")
    assert "tenant-upgrading" not in told("/api/tenants")
    assert "tenant-upgrading" not in told("/api/tenants/{tenant_id}")
