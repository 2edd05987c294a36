"""Seeding of the demo's tenants: repeated seeds give the same tenants, numbers and keys."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from flask import Flask

from tests.support import databases
from vca.devtools import demo_data
from vca.devtools.demo_data import SeededTenant
from vca.kit import db
from vca.kit.db import Database
from vca.kit.paging import PageRequest
from vca.registry.tenants import service as tenants
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.phone_numbers import service as phone_numbers

PEPPERS = ("a-pepper-of-the-test-suite-and-no-other",)
Seed = Callable[..., list[SeededTenant]]


@pytest.fixture
def seed(
    app: Flask, database_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Seed]:
    """Return a function that seeds a separate database: the demo's numbers are always the same."""
    server = request.getfixturevalue("database_server")
    name = database_url.rpartition("/")[2].partition("?")[0] + "_demo"
    database = db.set_current_database(
        Database(databases.as_login(server.clone_template(name), databases.WEB))
    )
    yield lambda peppers=PEPPERS: demo_data.seed_demo_tenants(peppers, tmp_path / "demo.json")
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

    with public_session() as session:
        tenants.update(session, tenant_id=UUID(acme.tenant_id), status="deleted")

    assert seed() == [globex]


def test_a_number_that_another_tenant_has_claimed_is_missing(
    seed: Seed,
) -> None:
    acme, globex = seed()
    _release(acme)
    _release(globex)
    assert acme.number is not None

    with tenant_session(_tenant_ref(globex)) as session:
        phone_numbers.add(session, did_number=acme.number, policy="platform")

    assert [seeded_tenant.number for seeded_tenant in seed()] == [None, acme.number]


def _release(seeded_tenant: SeededTenant) -> None:
    with tenant_session(_tenant_ref(seeded_tenant)) as session:
        (number,) = phone_numbers.list_page(session, page=PageRequest(2)).items
        phone_numbers.remove(session, phone_number_id=number.id)


def _tenant_ref(seeded_tenant: SeededTenant) -> TenantRef:
    return TenantRef(UUID(seeded_tenant.tenant_id))
