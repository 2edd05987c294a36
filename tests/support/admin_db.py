"""Access the database as its owner, for rows that no login of the product may read or change."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url
from sqlalchemy.orm import Session

from tests.support.services import app_services
from vca.tenancy import session
from vca.tenancy.database import TenantDatabase
from vca.tenancy.schema import TenantRef

_server_url = ""
# A new login takes ten times as long as the statement that a test runs, so pools stay open.
_pools: dict[str, TenantDatabase] = {}


def set_server_url(server_url: str) -> None:
    """Set the URL to log in with."""
    global _server_url
    _server_url = server_url


def database_url() -> str:
    """Return the owner's URL of the database that the process uses."""
    name = make_url(app_services().database.dsn).database
    return make_url(_server_url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def open_database() -> Iterator[TenantDatabase]:
    """Open a pool of one connection and close it at the end."""
    pool = TenantDatabase(database_url(), pool_size=1)
    try:
        yield pool
    finally:
        pool.close()


def close_pools() -> None:
    """Close all open pools."""
    while _pools:
        _pools.popitem()[1].close()


def close_current_pool() -> None:
    """Close the pool of the database that the process uses, before that database is dropped."""
    if database_url() in _pools:
        _pools.pop(database_url()).close()


def _pool() -> TenantDatabase:
    """Return the pool of the database that the process uses."""
    current_url = database_url()
    if current_url not in _pools:
        _pools[current_url] = TenantDatabase(current_url)
    return _pools[current_url]


@contextmanager
def public_session() -> Iterator[Session]:
    """Open a transaction outside any tenant."""
    with session.public_session(database=_pool()) as db_session:
        yield db_session


@contextmanager
def tenant_session(tenant: TenantRef) -> Iterator[Session]:
    """Open a transaction in the tenant's schema, without the tenant's role."""
    with session.owner_session(tenant, database=_pool()) as db_session:
        yield db_session
