"""The cost of thousands of tenants: creation, migration, requests and memory.

`python -m benchmarks fleet` fills an empty server with tenants. It compares each measurement with a
baseline that is taken in the same run on the same server, alternating with it:

- `create`: POST /api/tenants, compared with the same DDL as one string, run by the owner.
- `migrate`: a column and an index for every tenant, compared with a raw SQL string per tenant.
- `idle_migration`: `flask tenants migrate` with nothing to do, minus the command's start.
- `request_throughput`: the list of numbers at all tenants, compared with ten tenants in a small
  database.
- `memory`: the peak size of a server process, with and without the pool's bound.
- `tenant_session_overhead`: what entering a tenant adds to a bare transaction.
- `archive`: export and import of a tenant with 100,000 calls.
"""
