"""The state of the job lanes, for operators and metrics; it owns no table.

The queue belongs to `vca.jobs`. This package reads it through the function `jobs.tenant_jobs`.
"""
