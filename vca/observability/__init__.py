"""Logs, metrics and their Prometheus export.

`log` writes structured logs, `metrics` declares every metric, and `prometheus` counts over all
processes of a machine. This package imports `vca.settings` and `vca.kit` only. To add a metric,
declare it in `metrics` and count where the event happens.
"""
