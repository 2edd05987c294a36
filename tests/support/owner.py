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
_kept: dict[str, Database] = {}


def use(server_url: str) -> None:
    """Log in as this URL's login from now on."""
    global _server_url
    _server_url = server_url


def url() -> str:
    """The owner's URL of the database that the process uses."""
    name = make_url(db.current_database().dsn).database
    return make_url(_server_url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def database() -> Iterator[Database]:
    """A pool of one for oneself, closed on leaving."""
    pool = Database(url(), pool_size=1)
    try:
        yield pool
    finally:
        pool.close()


def close() -> None:
    """Close what is kept open."""
    while _kept:
        _kept.popitem()[1].close()


def leave() -> None:
    """Close what is kept open of the database that the process uses: it is about to go."""
    if url() in _kept:
        _kept.pop(url()).close()


def _pool() -> Database:
    """The one of the database that the process uses now."""
    where = url()
    if where not in _kept:
        _kept[where] = Database(where)
    return _kept[where]


@contextmanager
def public() -> Iterator[Session]:
    """A transaction in no tenant."""
    with session.public_session(database=_pool()) as opened:
        yield opened


@contextmanager
def inside(tenant: TenantRef) -> Iterator[Session]:
    """A transaction in the tenant's schema, under no role."""
    with session.owner_session(tenant, database=_pool()) as opened:
        yield opened
