"""The audit log: one row for each operation, written by the operation's transaction.

Shared code for both tables: the platform's in `public`, and each tenant's in its own schema. May
import `kit`, `audit` and `tenancy`. `vca.audit.redaction` decides which values are stored.
"""
