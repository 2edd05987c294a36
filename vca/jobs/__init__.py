"""Durable jobs: `queue` enqueues them into `lanes`, `worker_loop` executes them with procrastinate.

This package imports `vca.observability`, `vca.settings` and `vca.kit` only; it knows no job of the
product. To add a job, write a function with `@queue.task("<package>.<verb>", lane=…)` in the
`tasks.py` of a feature and add its name to `TASKS` in `vca.observability.metrics`.
"""
