"""Statements that Citus needs, where the database is a Citus cluster.

Citus places each tenant's schema on a node. On a plain Postgres the functions do nothing.
"""

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from vca.kit.db import Database

# The execution option of engines that connect to a cluster.
_OPTION = "citus"
# Public tables that tenants' transactions use must exist on every node. A table that others refer
# to comes first. `citus_tables` lists other tables too, with another type.
_CREATE_REFERENCE_TABLE = text("""
SELECT create_reference_table(:table)
WHERE NOT EXISTS (
    SELECT FROM citus_tables
    WHERE table_name = CAST(:table AS regclass) AND citus_table_type = 'reference'
)
""")
_ENABLE_SCHEMA_SHARDING = text("SET LOCAL citus.enable_schema_based_sharding TO on")


def enable(database: Database) -> None:
    """Let the connections of `database` know that it is a Citus cluster."""
    database.engine = database.engine.execution_options(**{_OPTION: True})


def is_enabled(connection: Connection) -> bool:
    """Return whether the connection is to a Citus cluster."""
    return bool(connection.get_execution_options().get(_OPTION, False))


def create_reference_tables(session: Session, *tables: str) -> None:
    """Copy whole tables to every node; call it before there are tenants. Idempotent."""
    if is_enabled(session.connection()):
        for table in tables:
            session.execute(_CREATE_REFERENCE_TABLE, {"table": table})


def enable_schema_sharding(session: Session) -> None:
    """Make Citus place the schemas that this transaction creates on a node."""
    if is_enabled(session.connection()):
        session.execute(_ENABLE_SCHEMA_SHARDING)
