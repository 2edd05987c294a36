"""A tenant two revisions behind: 503 and a fallback for it, nothing at all for the others."""

from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import text

from tests.support import fleet, owner
from tests.support.api import Api
from tests.support.carrier_line import CarrierLine
from tests.support.revisions import NICKNAMES, Tree
from tests.support.world import Platform, Tenant, World, fresh_number
from vca.jobs import queue, worker_loop
from vca.kit import json
from vca.registry.number_registry import service as dids
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy import schema
from vca.tenancy.schema import TenantUpgrading
from vca.tenancy.session import public_session, tenant_session


@pytest.fixture
def line(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierLine:
    return CarrierLine(carrier, anonymous)


@pytest.fixture
def old(fleet_world: World) -> Tenant:
    """A tenant that an agent answers for; it is not migrated."""
    tenant = fleet_world.tenant("Old")
    tenant.profile(greeting="Old here.")
    return tenant


@pytest.fixture
def number(old: Tenant) -> str:
    found: str = old.number()["did_number"]
    return found


@pytest.fixture
def later(revisions: Tree, old: Tenant, number: str) -> Tree:
    """The code is two revisions further by now."""
    revisions.sql("nicknames", NICKNAMES)
    revisions.empty("second")
    return revisions


def _calls(tenant: Tenant) -> int:
    with tenant_session(tenant.ref) as session:
        return session.scalar(text("SELECT count(*) FROM calls")) or 0


def _misses(number: str) -> int:
    with public_session() as session:
        return sum(
            miss.misses for miss in dids.list_unrouted_numbers(session) if miss.did_number == number
        )


def test_head_and_the_one_before_and_what_is_ahead_are_supported(later: Tree) -> None:
    head = schema.head()

    assert [schema.is_supported_revision(it) for it in (head, f"{int(head) - 1:04}", "9999")] == [
        True
    ] * 3
    assert not schema.is_supported_revision(f"{int(head) - 2:04}")


@pytest.mark.parametrize("path", ["/phone-numbers", "/calls", "/ai-profiles", "/settings"])
def test_reading_from_its_schema_is_503_and_says_when_to_come_back(
    old: Tenant, later: Tree, path: str
) -> None:
    answer = old.get(path)

    assert (answer.status_code, answer.json["code"]) == (503, "tenant-upgrading")
    assert answer.mimetype == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0


def test_what_writes_and_what_calls_out_is_503_as_well(
    old: Tenant, number: str, later: Tree
) -> None:
    for path, body in (
        ("/phone-numbers", {"did_number": fresh_number()}),
        ("/simulations", {"to": number}),
        ("/routing/explain", {"to": number}),
    ):
        answer = old.post(path, body)
        assert (answer.status_code, answer.json["code"]) == (503, "tenant-upgrading")
    assert _calls(old) == 0


def test_it_is_503_after_the_guard_and_not_before(
    fleet_world: World, old: Tenant, later: Tree
) -> None:
    stranger = fleet_world.tenant("Stranger")
    reader = fleet_world.api(fleet_world.key(old.id, scopes=["read"]))

    assert stranger.api.get(old.url("/calls")).status_code == 404
    assert fleet_world.api(None).get(old.url("/calls")).status_code == 401
    assert reader.post(old.url("/ai-profiles"), {"system_prompt": "x"}).status_code == 403


def test_what_is_in_public_alone_is_served(
    fleet_world: World, old: Tenant, later: Tree, app: Flask
) -> None:
    platform: Platform = fleet_world.platform()

    assert old.get().json["id"] == old.id
    assert platform.api.patch(old.url(), {"status": "suspended"}).status_code == 200
    assert old.get("/api-keys").status_code == 200


def test_others_are_served_meanwhile(
    fleet_world: World, old: Tenant, later: Tree, line: CarrierLine
) -> None:
    other = fleet_world.tenant("Other")
    fleet.migrate(fleet_world, "--tenant", other.id)
    other.profile(greeting="Other here.")
    to = other.number()["did_number"]

    assert line.ring(to, "other-1")["actions"][0]["text"] == "Other here."
    assert len(other.get("/calls").json) == 1
    assert old.get("/calls").status_code == 503


def test_once_it_is_migrated_it_is_served_again(
    fleet_world: World, old: Tenant, number: str, later: Tree, line: CarrierLine
) -> None:
    assert old.get("/calls").status_code == 503

    assert fleet.migrate(fleet_world).migrated == 1

    assert old.get("/calls").json == []
    assert line.ring(number, "again-1")["actions"][0]["text"] == "Old here."


def test_its_callers_hear_its_fallback_sentence_and_no_row_is_written(
    old: Tenant, number: str, line: CarrierLine, revisions: Tree
) -> None:
    old.patch("/settings", {"sentences": {"fallback": "We are moving house."}})
    revisions.sql("nicknames", NICKNAMES)
    revisions.empty("second")

    answer = line.ring(number, "old-1")

    assert [action["type"] for action in answer["actions"]] == ["say", "hang_up"]
    assert answer["actions"][0]["text"] == "We are moving house."
    assert answer["state"] is None
    assert _calls(old) == 0
    assert _misses(number) == 1


def test_its_callers_reach_the_numbers_fallback_number(
    old: Tenant, line: CarrierLine, revisions: Tree
) -> None:
    reserve = fresh_number()
    number = old.number(fallback_number=reserve)["did_number"]
    revisions.sql("nicknames", NICKNAMES)
    revisions.empty("second")

    assert line.ring(number, "old-1")["actions"] == [{"type": "forward", "number": reserve}]


def test_where_even_the_fallback_cannot_be_read_the_caller_hears_ours(
    old: Tenant, number: str, later: Tree, line: CarrierLine
) -> None:
    fleet.run_in(old, "ALTER TABLE settings RENAME sentences TO phrases")

    answer = line.ring(number, "old-1")

    assert [action["type"] for action in answer["actions"]] == ["say", "hang_up"]
    assert "call again" in answer["actions"][0]["text"]


def test_later_events_of_such_calls_are_taken_politely(
    old: Tenant, number: str, later: Tree, line: CarrierLine
) -> None:
    line.ring(number, "old-1")

    assert line.status("old-1", "completed", to=number)["actions"] == []
    assert _calls(old) == 0


def test_a_call_that_went_on_meanwhile_ends_politely_and_its_event_comes_again(
    fleet_world: World,
    carrier: FakeTelephonyAdapter,
    old: Tenant,
    number: str,
    line: CarrierLine,
    revisions: Tree,
) -> None:
    state = line.ring(number, "live-1")["state"]
    revisions.sql("nicknames", NICKNAMES)
    revisions.empty("second")
    ended = carrier.signed_request(
        "status", "/telephony/fake/", call_id="live-1", status="completed", state=state
    )

    said = line.say("live-1", state, "Are you there?")
    refused = line.send(ended)
    fleet.migrate(fleet_world)
    taken = line.send(ended)

    assert [action["type"] for action in said["actions"]] == ["say", "hang_up"]
    assert (refused.status_code, refused.json["code"]) == (503, "tenant-upgrading")
    assert "Retry-After" in refused.headers
    assert taken.status_code == 200
    assert old.get("/calls").json[0]["status"] == "completed"


def test_its_jobs_are_tried_again_later(
    fleet_world: World, old: Tenant, number: str, later: Tree, carrier: FakeTelephonyAdapter
) -> None:
    waiting = text(
        "SELECT status::text, scheduled_at > now() FROM jobs.procrastinate_jobs"
        " WHERE args->>'tenant_id' = :id AND task_name = 'phone_numbers.register'"
    )

    worker_loop.run_worker(owner.url(), wait=False)

    with owner.public() as session:
        found = [tuple(row) for row in session.execute(waiting, {"id": old.id})]
    assert found == [("todo", True)]
    assert list(carrier.operations) == []
    fleet.migrate(fleet_world)
    assert "phone_numbers.register" in fleet_world.work(old, ahead=True)
    assert [what for what, _ in carrier.operations] == ["register_number"]


def test_the_gate_of_jobs_asks_for_the_tenants_revision(old: Tenant, later: Tree) -> None:
    assert queue._admission_check is not None
    with pytest.raises(TenantUpgrading):
        queue._admission_check(UUID(old.id))


def test_the_terminals_telephone_says_why_it_does_not_ring(
    fleet_world: World, number: str, later: Tree
) -> None:
    result = fleet.command(fleet_world, "calls", "simulate", number)

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
