"""Everything inside one tenant's schema: one package per feature.

This package owns the tables of `tenant_migrations/`. It imports `registry`, `telephony`,
`conversation`, `tenancy` and the packages below them. Inside a tenant session `select(Call)` cannot
see another tenant's rows, so no query here filters by tenant.

To add a resource, create a package like its neighbours, add a line to `models.py` and to
`vca.app.FEATURES`, a revision in `tenant_migrations/`, and tests. Its `lifecycle.py` says what the
feature does when a tenant is imported, examined or purged, and when a person's data is exported or
erased. The app does not start with a table that no feature has declared.
"""
