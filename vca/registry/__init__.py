"""The PUBLIC schema: tenants, the number registry, API keys, plans and platform webhooks.

This package owns the tables of `migrations/`. It imports `tenancy`, `kit`, `observability`,
`audit`, `jobs` and the types of `telephony`. It never looks inside a tenant's schema: that is
`vca.tenant`. To add a resource, create a folder like the existing ones, and add a line in
`models.py`, a line in `vca.app.FEATURES` and a revision in `migrations/`. What the registry needs
from the features of a tenant is in `lifecycle_hooks`, which the features implement.
"""
