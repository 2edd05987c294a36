"""A tenant with profiles has exactly one default, whoever sets it at once."""

from collections.abc import Callable
from functools import partial

from tests.support.api import ApiResponse
from tests.support.concurrency import run_concurrently
from tests.support.factories import SYSTEM_PROMPT, Factory, Tenant

MANY = 20


def _defaults(tenant: Tenant) -> list[str]:
    return [profile["id"] for profile in tenant.get("/ai-profiles", is_default="true").json]


def _setter(world: Factory, tenant: Tenant, profile_id: str) -> Callable[[], ApiResponse]:
    path = tenant.url(f"/ai-profiles/{profile_id}")
    return partial(world.api(tenant.key).patch, path, {"is_default": True})


def test_twenty_who_set_twenty_defaults_at_once_leave_exactly_one(
    world: Factory, acme: Tenant
) -> None:
    ids = [acme.profile()["id"] for _ in range(MANY)]

    answers = run_concurrently([_setter(world, acme, profile_id) for profile_id in ids])

    assert {answer.status_code for answer in answers} == {200}
    assert len(_defaults(acme)) == 1


def test_of_twenty_first_profiles_made_at_once_exactly_one_is_the_default(
    world: Factory, acme: Tenant
) -> None:
    body = {"system_prompt": SYSTEM_PROMPT}

    answers = run_concurrently(
        [partial(world.api(acme.key).post, acme.url("/ai-profiles"), body) for _ in range(MANY)]
    )

    assert {answer.status_code for answer in answers} == {201}
    assert [answer.json["is_default"] for answer in answers].count(True) == 1
    assert len(_defaults(acme)) == 1


def test_setters_creators_and_deleters_at_once_leave_exactly_one_default(
    world: Factory, acme: Tenant
) -> None:
    ids = [acme.profile()["id"] for _ in range(6)]
    made = {"system_prompt": SYSTEM_PROMPT, "is_default": True}
    doings = [
        *(_setter(world, acme, profile_id) for profile_id in ids),
        *(partial(world.api(acme.key).post, acme.url("/ai-profiles"), made) for _ in range(6)),
        *(
            partial(world.api(acme.key).delete, acme.url(f"/ai-profiles/{profile_id}"))
            for profile_id in ids
        ),
    ]

    answers = run_concurrently(doings)

    assert {answer.status_code for answer in answers} <= {200, 201, 204, 404, 409}
    assert len(_defaults(acme)) == 1


def test_changes_of_one_profile_at_once_are_versions_without_gap_or_loss(
    world: Factory, acme: Tenant
) -> None:
    path = acme.url(f"/ai-profiles/{acme.profile()['id']}")

    answers = run_concurrently(
        [
            partial(world.api(acme.key).patch, path, {"greeting": f"Greeting {number}."})
            for number in range(10)
        ]
    )

    assert {answer.status_code for answer in answers} == {200}
    versions = acme.api.get(f"{path}/versions").json
    assert [version["version"] for version in versions] == list(range(11, 0, -1))
    assert len({version["greeting"] for version in versions}) == 11
    assert acme.api.get(path).json["greeting"] == versions[0]["greeting"]


def test_two_tenants_do_not_wait_for_each_other_to_choose_a_default(
    world: Factory, acme: Tenant, globex: Tenant
) -> None:
    both = [(tenant, tenant.profile()["id"]) for tenant in (acme, globex) for _ in range(5)]

    run_concurrently([_setter(world, tenant, profile_id) for tenant, profile_id in both])

    assert len(_defaults(acme)) == len(_defaults(globex)) == 1
