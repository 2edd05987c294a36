"""The connection pool of all tenants: which connection it hands out, and when it closes one."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url

from vca.kit import json
from vca.kit.db import catalogue_cache, dialect, prepared_statements, session_settings
from vca.kit.db.lost_connections import LostConnections

POOL_TIMEOUT_S = 2


def make_engine(
    dsn: str, *, size: int, tenants_per_connection: int, tenant_tables: Collection[str] = ()
) -> Engine:
    """Create an engine for `dsn` with at most `size` connections.

    The most recently used connection is handed out first, so that few are open. A connection that
    has no room for another one of `tenants_per_connection` schemas is closed when it returns to the
    pool: a server process keeps up to 0.4 MiB of catalogue for each schema that it has ever seen.
    If you pass `tenant_tables`, the tables of each schema, a schema counts in proportion to the
    touched ones.
    """
    tables = catalogue_cache.TenantTables(tenant_tables)
    engine = create_engine(
        make_url(dsn).set(drivername=f"postgresql+{dialect.NAME}"),
        pool_use_lifo=True,
        pool_size=size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_recycle=1800,
        hide_parameters=True,
        use_native_hstore=False,
        json_serializer=lambda value: json.dumps(value).decode(),
        json_deserializer=json.loads,
        connect_args={
            "application_name": "vca",
            "options": session_settings.CONNECTION_OPTIONS,
        },
    )
    LostConnections(engine)

    @event.listens_for(engine, "connect")
    def _prepare_connection(dbapi_connection: Any, record: Any) -> None:
        catalogue_cache.catalogue_cache_of(record.info).tables = tables
        _examine_connection(dbapi_connection, record)

    @event.listens_for(engine, "checkin")
    def _close_full_connection(_: Any, record: Any) -> None:
        if not catalogue_cache.catalogue_cache_of(record.info).has_room(tenants_per_connection):
            record.invalidate()

    if tenant_tables:

        @event.listens_for(engine, "before_cursor_execute")
        def _record_tables(connection: Connection, _: Any, statement: str, *__: Any) -> None:
            record_table_use(connection, statement)

    return engine


def _examine_connection(dbapi_connection: Any, record: Any) -> None:
    """Find out what a pooler between here and the server would change."""
    missing_sql = session_settings.missing_settings_sql(dbapi_connection)
    record.info[dialect.SESSION_SETTINGS_KEY] = missing_sql
    if prepared_statements.prepares_statements(dbapi_connection):
        dbapi_connection.prepared_names = set()


def record_schema_use(connection: Connection, schema: str) -> None:
    """Count `schema` among the schemas that this connection's server process has cached."""
    catalogue_cache.catalogue_cache_of(connection.connection.info).enter_schema(schema)


def record_table_use(connection: Connection, statement: str) -> None:
    """Count the tables of a statement among those that the server process has cached."""
    catalogue_cache.catalogue_cache_of(connection.connection.info).enter_statement(statement)
