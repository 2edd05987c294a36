"""Who changed what: one row for each operation, written by the transaction that does it.

The machinery of both tables: the platform's here, a tenant's in its own schema. May import the kit
and tenancy; what a row says of a change is in `vca.audit.redaction`.
"""
