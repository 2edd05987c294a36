"""What thousands of tenants cost: to make, to migrate, to serve, and in memory.

`python -m benchmarks fleet` fills an empty server with tenants and measures, each against what is
written beside it, taken in the same run on the same server, in turns:

- `create`: POST /api/tenants against the same DDL as one string, by the owner.
- `migrate`: a column and an index for every tenant, against raw SQL, a string for each tenant.
- `idle`: `flask tenants migrate` with nothing to do, without the command's start.
- `visits`: the list of numbers, at all tenants and at ten of them in a small database beside it.
- `memory`: the largest a server process grows to, with the pool's bound and without.
- `guard`: what entering a tenant adds to a bare transaction.
- `archive`: a tenant with 100,000 calls, out and in again.
"""
