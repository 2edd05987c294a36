"""Summarise how long each stage of a call's turns took."""

from collections.abc import Iterable, Mapping
from statistics import quantiles
from typing import Any


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
