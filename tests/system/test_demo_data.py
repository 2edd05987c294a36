"""Seeding of the demo's tenants: repeated seeds give the same tenants, numbers and keys."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from tests.support import databases
from tests.support.services import app_services, open_database, use_database
from vca.devtools import demo_data
from vca.devtools.demo_data import DemoTenant, SeededTenant
from vca.kit.paging import PageRequest
from vca.registry.number_registry import service as number_registry
from vca.registry.tenants import service as tenants
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.ai_profiles.schemas import NewAiProfileSchema
from vca.tenant.phone_numbers import service as phone_numbers
from vca.tenant.settings import hours
from vca.tenant.settings import service as settings_service
from vca.tenant.settings.schemas import SettingsSchema

PEPPERS = ("a-pepper-of-the-test-suite-and-no-other",)
Seed = Callable[..., list[SeededTenant]]


@pytest.fixture
def seed(
    app: Flask, database_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Seed]:
    """Return a function that seeds a separate database: the demo's numbers are always the same."""
    server = request.getfixturevalue("database_server")
    name = database_url.rpartition("/")[2].partition("?")[0] + "_demo"
    database = use_database(
        open_database(databases.as_login(server.clone_template(name), databases.WEB))
    )
    yield lambda peppers=PEPPERS: demo_data.seed_demo_tenants(
        peppers, tmp_path / "demo.json", services=app_services()
    )
    database.close()
    server.drop_database(name)


def test_a_second_seed_returns_the_same_tenants_numbers_and_keys(seed: Seed) -> None:
    assert seed() == seed()


def test_a_key_that_is_invalid_with_new_peppers_is_replaced(seed: Seed) -> None:
    before = seed()

    after = seed(("another-pepper-of-the-test-suite-and-no-other",))

    assert [seeded_tenant.tenant_id for seeded_tenant in after] == [
        seeded_tenant.tenant_id for seeded_tenant in before
    ]
    assert all(new.key != old.key for new, old in zip(after, before, strict=True))


def test_a_deleted_tenant_is_omitted(seed: Seed) -> None:
    acme, globex = seed()

    with public_session(database=app_services().database) as session:
        tenants.update(
            session, tenant_id=UUID(acme.tenant_id), status="deleted", services=app_services()
        )

    assert seed() == [globex]


def test_a_number_that_another_tenant_has_claimed_is_missing(
    seed: Seed,
) -> None:
    acme, globex = seed()
    _release(acme)
    _release(globex)
    assert acme.number is not None

    with public_session(database=app_services().database) as session:
        globex_id = _tenant_ref(globex).id
        number_registry.permit_claim(
            session, number=acme.number, tenant_id=globex_id, policy="platform"
        )
    with tenant_session(_tenant_ref(globex), database=app_services().database) as session:
        phone_numbers.add(session, did_number=acme.number, services=app_services())

    assert [seeded_tenant.number for seeded_tenant in seed()] == [None, acme.number]


def _release(seeded_tenant: SeededTenant) -> None:
    with tenant_session(_tenant_ref(seeded_tenant), database=app_services().database) as session:
        (number,) = phone_numbers.list_page(session, page=PageRequest(2)).items
        phone_numbers.remove(session, phone_number_id=number.id)


def _tenant_ref(seeded_tenant: SeededTenant) -> TenantRef:
    return TenantRef(UUID(seeded_tenant.tenant_id))


# --- Content ---------------------------------------------------------------------------------


def test_the_demo_tenants_have_settings_tools_targets_and_extraction(seed: Seed) -> None:
    for seeded_tenant in seed():
        with tenant_session(
            _tenant_ref(seeded_tenant), database=app_services().database
        ) as session:
            settings = settings_service.get(session)
            [profile] = ai_profiles.list_page(session, page=PageRequest(2)).items
            [number] = phone_numbers.list_page(session, page=PageRequest(2)).items

            assert settings.hours is not None
            assert settings.hours["weekly"]
            assert len(settings.hours["holidays"]) == 4
            assert {"end_call", "transfer", "take_message"} <= set(profile.tools)
            assert len(profile.transfer_targets) == 2
            assert profile.extract is not None
            assert number.fallback_number is not None


@pytest.mark.parametrize("demo_tenant", demo_data.DEMO_TENANTS, ids=lambda tenant: tenant.name)
def test_the_api_accepts_the_settings_and_profile_of_a_demo_tenant(
    demo_tenant: DemoTenant,
) -> None:
    assert SettingsSchema().validate(demo_tenant.settings) == {}
    assert NewAiProfileSchema().validate(demo_tenant.profile) == {}


@pytest.mark.parametrize("demo_tenant", demo_data.DEMO_TENANTS, ids=lambda tenant: tenant.name)
def test_a_demo_tenant_is_open_for_most_of_the_week(demo_tenant: DemoTenant) -> None:
    opening_hours = hours.parse_hours(demo_tenant.settings["hours"])
    zone = ZoneInfo(demo_tenant.settings["time_zone"])
    monday = datetime(2026, 11, 30, tzinfo=zone)

    states = [
        hours.state_at(opening_hours, zone, monday + timedelta(hours=hour))
        for hour in range(7 * 24)
    ]

    assert sum(isinstance(state, hours.Open) for state in states) > 0.9 * len(states)
