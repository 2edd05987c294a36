"""The database as its owner sees it: for what no login of the product may read or change."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url
from sqlalchemy.orm import Session

from vca.kit import db
from vca.kit.db import Database
from vca.tenancy import session
from vca.tenancy.schema import TenantRef

_server_url = ""
# A login takes the server and us ten times as long as what is asked for.
_pools: dict[str, Database] = {}


def set_server_url(server_url: str) -> None:
    """Log in as this URL's login from now on."""
    global _server_url
    _server_url = server_url


def database_url() -> str:
    """The owner's URL of the database that the process uses."""
    name = make_url(db.current_database().dsn).database
    return make_url(_server_url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def open_database() -> Iterator[Database]:
    """A pool of one for oneself, closed on leaving."""
    pool = Database(database_url(), pool_size=1)
    try:
        yield pool
    finally:
        pool.close()


def close_pools() -> None:
    """Close what is kept open."""
    while _pools:
        _pools.popitem()[1].close()


def close_current_pool() -> None:
    """Close what is kept open of the database that the process uses: it is about to go."""
    if database_url() in _pools:
        _pools.pop(database_url()).close()


def _pool() -> Database:
    """The one of the database that the process uses now."""
    current_url = database_url()
    if current_url not in _pools:
        _pools[current_url] = Database(current_url)
    return _pools[current_url]


@contextmanager
def public_session() -> Iterator[Session]:
    """A transaction in no tenant."""
    with session.public_session(database=_pool()) as db_session:
        yield db_session


@contextmanager
def tenant_session(tenant: TenantRef) -> Iterator[Session]:
    """A transaction in the tenant's schema, under no role."""
    with session.owner_session(tenant, database=_pool()) as db_session:
        yield db_session
