"""Measure how long each stage of a turn took, and summarise it for a call."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from statistics import quantiles
from typing import Any

from vca.observability import metrics


def measure_turn(
    model_ms: Mapping[str, int], *, database_s: float, total: timedelta
) -> dict[str, int]:
    """Return the milliseconds per stage of a turn, model, database and total, and count them."""
    total_ms = round(total.total_seconds() * 1000)
    latency_ms = {**model_ms, "database": round(database_s * 1000), "total": total_ms}
    for stage, took_ms in latency_ms.items():
        metrics.TURN_SECONDS.observe(took_ms / 1000, stage=stage)
    return latency_ms


def summarise_latency(turns: Iterable[Mapping[str, int]]) -> dict[str, Any] | None:
    """Return p50, p95 and maximum per stage in milliseconds, or None if nothing was measured."""
    stages: dict[str, list[int]] = {}
    for turn in turns:
        for stage, took_ms in turn.items():
            stages.setdefault(stage, []).append(took_ms)
    return {stage: _percentiles(took_ms) for stage, took_ms in stages.items()} or None


def _percentiles(took_ms: list[int]) -> dict[str, int]:
    if len(took_ms) == 1:
        return dict.fromkeys(("p50_ms", "p95_ms", "max_ms"), took_ms[0])
    percentiles = quantiles(took_ms, n=20, method="inclusive")
    return {
        "p50_ms": round(percentiles[9]),
        "p95_ms": round(percentiles[18]),
        "max_ms": max(took_ms),
    }
