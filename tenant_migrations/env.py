"""Alembic environment of ONE tenant's schema; it gets a connection that is inside the tenant.

It is used to compare a schema with the models. It does not migrate the tenants:
`vca.tenancy.schema` compiles the revisions to SQL once, and `vca.tenancy.migration_runner` runs the
SQL in each tenant.

A revision that must move data in Python sets `python = True` beside its `revision`, and works on
`op.get_bind()`, which is inside the tenant. It is left out when a schema is created, because there
is no data yet. So it must not change tables: use an SQL revision before or after it. All revisions
that a tenant lacks run in one transaction, of both kinds. Within a process, Python revisions run
for one tenant at a time, because `op` is global to the process; several runs share the work.

Expand first, contract later: the code supports its head and the revision before it. The API of a
tenant further behind returns 503 `tenant-upgrading`, and its callers hear the fallback, until it is
migrated.
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
