"""Alembic's environment of ONE tenant's schema, given a connection that is inside it.

The fleet is not migrated through here: `vca.tenancy.schema` compiles the revisions to SQL once and
replays them. This is for comparing a schema with the models.
"""

from alembic import context

from vca.tenant.models import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=context.config.attributes["schema"],
)
with context.begin_transaction():
    context.run_migrations()
