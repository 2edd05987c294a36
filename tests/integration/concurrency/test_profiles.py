"""A tenant with AI profiles has exactly one default profile after concurrent changes."""

from collections.abc import Callable
from functools import partial

from tests.support.api import ApiResponse
from tests.support.concurrency import run_concurrently
from tests.support.factories import SYSTEM_PROMPT, Factory, Tenant

REQUEST_COUNT = 20


def _list_default_ids(tenant: Tenant) -> list[str]:
    return [profile["id"] for profile in tenant.get("/ai-profiles", is_default="true").json]


def _default_setter(world: Factory, tenant: Tenant, profile_id: str) -> Callable[[], ApiResponse]:
    """Return a function that makes this profile the default one."""
    path = tenant.url(f"/ai-profiles/{profile_id}")
    return partial(world.api(tenant.key).patch, path, {"is_default": True})


def test_twenty_concurrent_changes_of_the_default_leave_one_default(
    world: Factory, acme: Tenant
) -> None:
    ids = [acme.profile()["id"] for _ in range(REQUEST_COUNT)]

    responses = run_concurrently([_default_setter(world, acme, profile_id) for profile_id in ids])

    assert {response.status_code for response in responses} == {200}
    assert len(_list_default_ids(acme)) == 1


def test_one_of_twenty_concurrently_created_first_profiles_is_the_default(
    world: Factory, acme: Tenant
) -> None:
    path, body = acme.url("/ai-profiles"), {"system_prompt": SYSTEM_PROMPT}

    responses = run_concurrently(
        [partial(world.api(acme.key).post, path, body) for _ in range(REQUEST_COUNT)]
    )

    assert {response.status_code for response in responses} == {201}
    assert [response.json["is_default"] for response in responses].count(True) == 1
    assert len(_list_default_ids(acme)) == 1


def test_concurrent_changes_creations_and_deletions_leave_one_default(
    world: Factory, acme: Tenant
) -> None:
    ids = [acme.profile()["id"] for _ in range(6)]
    new_profile = {"system_prompt": SYSTEM_PROMPT, "is_default": True}
    requests: list[Callable[[], ApiResponse]] = [
        *(_default_setter(world, acme, profile_id) for profile_id in ids),
        *(
            partial(world.api(acme.key).post, acme.url("/ai-profiles"), new_profile)
            for _ in range(6)
        ),
        *(
            partial(world.api(acme.key).delete, acme.url(f"/ai-profiles/{profile_id}"))
            for profile_id in ids
        ),
    ]

    responses = run_concurrently(requests)

    assert {response.status_code for response in responses} <= {200, 201, 204, 404, 409}
    assert len(_list_default_ids(acme)) == 1


def test_concurrent_changes_of_one_profile_create_versions_without_gaps(
    world: Factory, acme: Tenant
) -> None:
    path = acme.url(f"/ai-profiles/{acme.profile()['id']}")

    responses = run_concurrently(
        [
            partial(world.api(acme.key).patch, path, {"greeting": f"Greeting {number}."})
            for number in range(10)
        ]
    )

    assert {response.status_code for response in responses} == {200}
    versions = acme.api.get(f"{path}/versions").json
    assert [version["version"] for version in versions] == list(range(11, 0, -1))
    assert len({version["greeting"] for version in versions}) == 11
    assert acme.api.get(path).json["greeting"] == versions[0]["greeting"]


def test_two_tenants_change_their_defaults_concurrently(
    world: Factory, acme: Tenant, globex: Tenant
) -> None:
    profiles = [(tenant, tenant.profile()["id"]) for tenant in (acme, globex) for _ in range(5)]

    run_concurrently(
        [_default_setter(world, tenant, profile_id) for tenant, profile_id in profiles]
    )

    assert len(_list_default_ids(acme)) == len(_list_default_ids(globex)) == 1
