"""The oldest versions of a profile are deleted; those that calls name stay."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, text

from tests.support import admin_db
from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services
from vca.kit.errors import InvalidInput
from vca.tenancy.session import tenant_session
from vca.tenant.ai_profiles import service, versions
from vca.tenant.calls.core import record


@pytest.fixture(autouse=True)
def _keep_three_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "MAX_VERSIONS", 3)


def _change(tenant: Tenant, profile_id: str, *, times: int) -> None:
    for _ in range(times):
        version = tenant.get(f"/ai-profiles/{profile_id}").json["version"]
        response = tenant.patch(f"/ai-profiles/{profile_id}", {"greeting": f"Hello {version}."})
        assert response.status_code == 200, response.text


def _stored_versions(tenant: Tenant, profile_id: str) -> list[int]:
    query = text("SELECT version FROM ai_profile_versions WHERE ai_profile_id = :id ORDER BY 1")
    with admin_db.tenant_session(tenant.ref) as session:
        return list(session.scalars(query, {"id": profile_id}))


def _simulate(tenant: Tenant, profile_id: str, **fields: Any) -> str:
    """Simulate a call to the profile that ends at once, and return its id."""
    response = tenant.post("/simulations", {"ai_profile_id": profile_id, **fields})
    assert response.status_code == 201, response.text
    call_id: str = response.json["call_id"]
    assert tenant.say(call_id, "Hello.")["status"] == "in_progress"
    assert tenant.post(f"/calls/{call_id}/hangup").status_code == 200
    return call_id


def test_the_cap_is_five_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert versions.MAX_VERSIONS == 500


def test_a_change_is_never_refused_and_the_numbering_continues(
    acme: Tenant, globex: Tenant
) -> None:
    profile_id, other_id = acme.profile()["id"], acme.profile()["id"]
    foreign_id = globex.profile()["id"]
    _change(globex, foreign_id, times=2)

    _change(acme, profile_id, times=6)

    assert acme.get(f"/ai-profiles/{profile_id}").json["version"] == 7
    assert _stored_versions(acme, profile_id) == [5, 6, 7]
    page = acme.get(f"/ai-profiles/{profile_id}/versions").json
    assert [version["version"] for version in page] == [7, 6, 5]
    assert _stored_versions(acme, other_id) == [1]
    assert _stored_versions(globex, foreign_id) == [1, 2, 3]


def test_a_change_deletes_a_bounded_number_of_versions(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile_id = acme.profile()["id"]
    monkeypatch.setattr(versions, "MAX_VERSIONS", 100)
    _change(acme, profile_id, times=9)  # as before an upgrade
    monkeypatch.setattr(versions, "MAX_VERSIONS", 3)
    monkeypatch.setattr(versions, "MAX_DELETIONS", 5)

    _change(acme, profile_id, times=1)
    after_first_change = _stored_versions(acme, profile_id)
    _change(acme, profile_id, times=1)

    assert len(after_first_change) == 11 - 5
    assert _stored_versions(acme, profile_id) == [10, 11, 12]


def test_a_version_that_a_call_names_stays_and_can_be_replayed_and_simulated(acme: Tenant) -> None:
    profile_id = acme.profile(greeting="The first.")["id"]
    call_id = _simulate(acme, profile_id)

    _change(acme, profile_id, times=6)

    assert _stored_versions(acme, profile_id) == [1, 5, 6, 7]
    assert acme.get(f"/calls/{call_id}").json["ai_profile_version"] == 1
    replay_response = acme.post(
        f"/calls/{call_id}/replay", {"ai_profile_id": profile_id, "version": 1}
    )
    assert replay_response.status_code == 200
    assert replay_response.json["replay"]["greeting"] == "The first."
    _simulate(acme, profile_id, version=1)
    rejected_response = acme.post("/simulations", {"ai_profile_id": profile_id, "version": 2})
    assert (rejected_response.status_code, rejected_response.json["errors"][0]["pointer"]) == (
        400,
        "/version",
    )


def test_a_live_call_goes_on_with_its_version(acme: Tenant) -> None:
    profile_id = acme.profile()["id"]
    call_id = acme.simulate(acme.number()["did_number"])["call_id"]

    _change(acme, profile_id, times=6)

    assert acme.say(call_id, "Are you there?")["status"] == "in_progress"
    assert _stored_versions(acme, profile_id) == [1, 5, 6, 7]


def test_a_call_after_the_retention_of_its_transcript_keeps_no_version(
    acme: Tenant, world: Factory
) -> None:
    profile_id = acme.profile()["id"]
    _simulate(acme, profile_id)
    _change(acme, profile_id, times=1)
    _simulate(acme, profile_id)
    acme.patch("/settings", {"retention_days": {"transcripts": 7}})
    world.sql(
        acme,
        "UPDATE calls SET ended_at = ended_at - interval '8 days' WHERE ai_profile_version = 1",
    )

    _change(acme, profile_id, times=5)

    assert _stored_versions(acme, profile_id) == [2, 5, 6, 7]


def test_the_versions_of_all_deleted_profiles_have_one_cap(acme: Tenant) -> None:
    default_id = acme.profile()["id"]
    deleted_ids = [acme.profile()["id"] for _ in range(6)]
    call_id = _simulate(acme, deleted_ids[0])

    for profile_id in deleted_ids:
        assert acme.delete(f"/ai-profiles/{profile_id}").status_code == 204

    stored = [_stored_versions(acme, profile_id) for profile_id in deleted_ids]
    assert stored == [[1], [], [], [1], [1], [1]]
    assert _stored_versions(acme, default_id) == [1]
    assert acme.get(f"/calls/{call_id}").json["ai_profile_version"] == 1


def test_concurrent_changes_all_succeed(world: Factory, acme: Tenant) -> None:
    profile_id = acme.profile()["id"]
    url = acme.url(f"/ai-profiles/{profile_id}")
    changes: list[Callable[[], Any]] = [
        partial(world.api(acme.key).patch, url, {"greeting": f"Hello {number}."})
        for number in range(12)
    ]

    responses = run_concurrently(changes)

    assert {response.status_code for response in responses} == {200}
    assert sorted(response.json["version"] for response in responses) == list(range(2, 14))
    assert _stored_versions(acme, profile_id) == [11, 12, 13]


def test_a_version_that_a_call_is_about_to_name_is_not_deleted(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile_id = acme.profile()["id"]
    original_insert = record.insert_call

    def change_and_insert(*arguments: Any, **options: Any) -> None:
        # The transaction of the simulation holds the lock on the version.
        _change(acme, profile_id, times=6)
        original_insert(*arguments, **options)

    monkeypatch.setattr(record, "insert_call", change_and_insert)

    response = acme.post("/simulations", {"ai_profile_id": profile_id, "version": 1})

    assert response.status_code == 201
    assert _stored_versions(acme, profile_id) == [1, 5, 6, 7]


def test_a_version_that_was_deleted_before_the_call_is_an_invalid_field(acme: Tenant) -> None:
    profile_id = acme.profile()["id"]
    _change(acme, profile_id, times=6)

    with (
        tenant_session(acme.ref, database=app_services().database) as session,
        pytest.raises(InvalidInput) as error_info,
    ):
        service.lock_version(session, ai_profile_id=UUID(profile_id), version=1)

    assert error_info.value.errors[0].pointer == "/version"


def test_a_version_that_a_call_names_in_the_meantime_is_not_deleted(
    acme: Tenant, world: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile_id = acme.profile()["id"]
    _simulate(acme, profile_id)
    world.sql(acme, "UPDATE calls SET ai_profile_version = NULL")
    _change(acme, profile_id, times=2)

    def name_and_delete(table: Any) -> Any:
        world.sql(acme, "UPDATE calls SET ai_profile_version = 1")
        return delete(table)

    monkeypatch.setattr(versions, "delete", name_and_delete)

    _change(acme, profile_id, times=1)

    assert _stored_versions(acme, profile_id) == [1, 2, 3, 4]
