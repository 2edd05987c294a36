"""Databases with tenants in them: built once by a test process, and copied for each test.

Copying the files is a tenth of the work of furnishing a tenant; and a copy's catalogue is without
the dead rows of all the tenants of earlier tests, through which every query of it would wade.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from flask import Flask
from sqlalchemy import select

from tests.support import databases, owner
from tests.support.databases import DEPLOYMENT
from tests.support.premises import Line, Premises, furnish
from tests.support.world import Tenant, World
from vca.kit import db, storage
from vca.kit.db import Database
from vca.registry.tenants import roles
from vca.registry.tenants.models import Tenant as TenantRow
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.schema import TenantRef
from vca.tenant.recordings.media import tenant_folder

Builder = Callable[[World], Any]


@dataclass(frozen=True)
class House:
    """A database to copy; `dwellers` is what its builder returned, `recordings` are by key."""

    name: str
    dwellers: Any
    recordings: Mapping[str, bytes]


class Houses:
    """Those of this process; `name` is the database that tests find one copied to."""

    def __init__(self, server: databases.Server, app: Flask, name: str) -> None:
        self._server = server
        self._app = app
        self._name = name
        self._built: dict[Builder, House] = {}
        self._unspoilt: Builder | None = None

    @contextmanager
    def entered(self, build: Builder, *, spoilt: bool = True) -> Iterator[Any]:
        """Inside, the process uses a copy of what `build` makes; what that returned.

        Who leaves it not `spoilt` leaves it to the next one who wants the same.
        """
        if build not in self._built:
            self._built[build] = self._build(build)
        house = self._built[build]
        if self._unspoilt is not build:
            self._copy(house)
        self._unspoilt = None
        with self._using(self._server.named(self._name)):
            yield house.dwellers
        self._unspoilt = None if spoilt else build

    def _build(self, build: Builder) -> House:
        name = f"{self._name}_{build.__name__}"
        carriers = providers.current_carriers()
        with self._using(self._server.clone(name)):
            dwellers = build(World(self._app))
            recordings = _recordings()
            _drop_roles()
        providers.set_current_carriers(carriers)
        return House(name, dwellers, recordings)

    def _copy(self, house: House) -> None:
        with self._using(self._server.copy(house.name, self._name)):
            _make_roles()
        for key, content in house.recordings.items():
            storage.current_store().put(key, iter([content]), content_type="audio/wav")

    @contextmanager
    def _using(self, url: str) -> Iterator[None]:
        """The process uses another database; roles as it enters tenants."""
        before, database = self._app.extensions["settings"], db.current_database()
        settings = self._app.extensions["settings"] = _at(before, url)
        web = db.set_current_database(Database(settings.database_dsn))
        try:
            yield
        finally:
            owner.leave()
            web.close()
            db.set_current_database(database)
            self._app.extensions["settings"] = before


def nobody(_: World) -> None:
    """No tenant."""


def furnished(world: World) -> Premises:
    """A tenant with rows in every table."""
    return furnish(world, world.platform(), _line(world), "acme")


def neighbours(world: World) -> tuple[Premises, Premises]:
    """Two of them."""
    platform, line = world.platform(), _line(world)
    return furnish(world, platform, line, "acme"), furnish(world, platform, line, "globex")


def four(world: World) -> list[Tenant]:
    """Four tenants."""
    return [world.tenant(name) for name in ("Acme", "Globex", "Initech", "Hooli")]


def _line(world: World) -> Line:
    settings: Settings = world.app.extensions["settings"]
    carrier = FakeTelephonyAdapter(f"fake-carrier|{settings.secret_key}")
    providers.set_current_carriers(providers.Carriers(settings)).register(carrier)
    return Line(world, carrier)


def _at(settings: Settings, url: str) -> Settings:
    return replace(
        settings,
        database_url=databases.as_login(url, databases.WEB),
        worker_database_url=databases.as_login(url, databases.WORKER),
        migration_database_url=url,
    )


def _tenants() -> list[TenantRef]:
    with owner.public() as session:
        return [TenantRef(id_) for id_ in session.scalars(select(TenantRow.id))]


def _recordings() -> dict[str, bytes]:
    store = storage.current_store()
    keys = [key for tenant in _tenants() for key in store.keys(tenant_folder(tenant))]
    return {key: b"".join(store.open(key)) for key in keys}


def _make_roles() -> None:
    """They belong to the server: no copy brings them."""
    for tenant in _tenants():
        with owner.inside(tenant) as session:
            roles.ensure_role(session, tenant_id=tenant.id)


def _drop_roles() -> None:
    """One that had rights in the house too would outlive the tenant that a copy is purged of."""
    for tenant in _tenants():
        role = DEPLOYMENT.roles.role_name(tenant)
        with owner.public() as session:
            session.connection().exec_driver_sql(
                f'GRANT "{role}" TO CURRENT_USER; DROP OWNED BY "{role}"; DROP ROLE "{role}"'
            )
