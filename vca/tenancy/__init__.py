"""The schema-per-tenant engine: schema names, sessions, migrations, archives and deletion.

This package knows no product table and imports `kit` and `observability` only. `session` is the
only module that chooses a tenant.
"""
