"""The engine of schema-per-tenant: names, doors, creation and migration of schemas,
archives, and their end.

Knows no product table; imports only `kit`. `session` is the only place that chooses a tenant.
"""
