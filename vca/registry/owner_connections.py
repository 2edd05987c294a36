"""Connections with the owner's login, for commands that change schemas."""

from collections.abc import Iterator
from contextlib import contextmanager

from vca.kit.db.copy_driver import BulkDatabase
from vca.services import current_services
from vca.tenancy import citus
from vca.tenancy.database import TenantDatabase


@contextmanager
def owner_database(*, connections: int = 2) -> Iterator[TenantDatabase]:
    """Open a pool of up to `connections` with the owner's login; close it on exit."""
    services = current_services()
    owner_pool = TenantDatabase(
        services.settings.owner_dsn,
        roles=services.database.roles,
        on_citus=services.database.on_citus,
        pool_size=connections,
    )
    try:
        yield owner_pool
    finally:
        owner_pool.close()


@contextmanager
def owner_bulk() -> Iterator[BulkDatabase]:
    """Return the owner's login for COPY and for long DDL, with a connection per transaction."""
    services = current_services()
    database = BulkDatabase(services.settings.owner_dsn)
    if services.database.on_citus:
        citus.enable(database)
    yield database
