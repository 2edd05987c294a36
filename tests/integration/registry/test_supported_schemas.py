"""A process remembers that a tenant's schema is supported, and never that it is not."""

from collections.abc import Callable, Iterator
from typing import TypeAlias
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.registry.tenants import service as tenants
from vca.tenancy.schema import TenantUpgrading

SetRevision: TypeAlias = Callable[[str | None], None]
OLD_REVISION = "0001"
_READ = text("SELECT schema_revision FROM public.tenants WHERE id = :id")
_UPDATE = text("UPDATE public.tenants SET schema_revision = :revision WHERE id = :id")


@pytest.fixture(autouse=True)
def _empty_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants, "_supported_until_s", {})


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time of the service's clock, which the test sets."""
    now_s = [1_000.0]
    monkeypatch.setattr(tenants, "monotonic", lambda: now_s[0])
    return now_s


@pytest.fixture
def set_revision(acme: Tenant) -> Iterator[SetRevision]:
    """Return a function that changes acme's recorded revision; restore it at the end."""
    with admin_db.public_session() as session:
        current = session.scalar(_READ, {"id": acme.id})

    def set_to(revision: str | None) -> None:
        with admin_db.public_session() as session:
            session.execute(_UPDATE, {"id": acme.id, "revision": revision or current})

    yield set_to
    set_to(None)


def test_a_supported_schema_is_remembered_for_a_while(
    acme: Tenant, now_s: list[float], set_revision: SetRevision
) -> None:
    tenants.require_supported_schema(acme.ref.id, services=app_services())
    set_revision(OLD_REVISION)
    now_s[0] += tenants.REMEMBER_SUPPORT_S - 1
    tenants.require_supported_schema(acme.ref.id, services=app_services())

    now_s[0] += 1
    with pytest.raises(TenantUpgrading):
        tenants.require_supported_schema(acme.ref.id, services=app_services())


def test_an_outdated_schema_is_read_at_every_request(
    acme: Tenant, set_revision: SetRevision
) -> None:
    set_revision(OLD_REVISION)
    with pytest.raises(TenantUpgrading):
        tenants.require_supported_schema(acme.ref.id, services=app_services())

    set_revision(None)

    tenants.require_supported_schema(acme.ref.id, services=app_services())


def test_the_number_of_remembered_schemas_is_bounded(
    acme: Tenant, globex: Tenant, set_revision: SetRevision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenants, "_MAX_REMEMBERED_TENANTS", 1)
    for tenant in (acme, globex):
        tenants.require_supported_schema(tenant.ref.id, services=app_services())
    tenants.require_supported_schema(
        uuid4(), services=app_services()
    )  # an unknown tenant is not remembered

    set_revision(OLD_REVISION)

    with pytest.raises(TenantUpgrading):
        tenants.require_supported_schema(acme.ref.id, services=app_services())
    assert list(tenants._supported_until_s) == [globex.ref.id]
