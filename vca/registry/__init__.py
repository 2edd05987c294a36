"""The PUBLIC schema: which tenants exist, which number is whose, which keys open what.

Owns the tables of `migrations/`; imports `tenancy`, `kit` and the carriers' names. Nothing in here
looks inside a tenant's schema: that is `vca.tenant`. To add a resource: a folder like its
neighbours, a line in `models.py` and in `vca.app.FEATURES`, a revision in `migrations/`.
"""
