"""Everything inside ONE tenant's schema, a folder for each feature.

Owns the tables of `tenant_migrations/`; imports `registry`, `telephony`, `conversation`, `tenancy`
and `kit`. Inside a tenant's session `select(Call)` cannot see another tenant, so no query here
filters by one. To add a resource: a folder like its neighbours, a line in `models.py` and in
`vca.app.FEATURES`, a revision in `tenant_migrations/`, its tests.
"""
