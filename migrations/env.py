"""Alembic environment of the PUBLIC schema; `flask db upgrade` passes the connection."""

from alembic import context

from vca.registry.models import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema="public",
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
