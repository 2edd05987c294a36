"""Alembic's environment of ONE tenant's schema, given a connection that is inside it.

The fleet is not migrated through here: `vca.tenancy.schema` compiles the revisions to SQL once and
replays them. This is for comparing a schema with the models.

A revision that must move data in Python says `python = True` beside its `revision`, and does it on
`op.get_bind()`, which is inside the tenant. It is left out where a schema is being made, since
there is no data yet, so it must not change tables: that is for a revision of SQL before or after
it. All revisions that a tenant lacks are one transaction, whichever kind they are. Python is run
for one tenant at a time in a process, since `op` is one for the process; several runs share it.

Expand first, contract later: the code runs on its head and on the revision before it. A tenant
further behind gets 503 `tenant-upgrading`, and its callers the fallback, until it is migrated.
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
