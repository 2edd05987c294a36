"""Metrics: one module declares them, labels have documented values, and none names a tenant."""

import ast
import re
from typing import Any, get_args

from flask import Flask

from tests.support.ast_index import source_modules
from vca.conversation.llm import ModelFailure
from vca.jobs import worker_loop
from vca.observability import metrics, prometheus
from vca.observability.metrics import Gauge
from vca.observability.prometheus import OTHER, Histogram
from vca.telephony.providers import ADAPTERS
from vca.tenant.calls.core import analysis_state, state_machine
from vca.tenant.settings import dialling

GAUGES = [value for value in vars(metrics).values() if isinstance(value, Gauge)]
ALL_METRICS: list[prometheus.BaseMetric[Any] | Gauge] = [*prometheus.BaseMetric.instances, *GAUGES]
METRIC_CLASSES = {"Counter", "Histogram", "ProcessGauge", "Gauge"}
_SUFFIXES = (
    "_total",
    "_seconds",
    "_calls",
    "_up",
    "_registrations",
    "_head",
    "_tenants",
    "_mails",
    "_ready",
    "_jobs",
    "_in_use",
)


def test_only_the_metrics_module_declares_metrics() -> None:
    declarations = [
        (class_name, module.location_of(node))
        for module in source_modules(roots=("vca",))
        for function, node in module.calls()
        if (class_name := function.rpartition(".")[2]) in METRIC_CLASSES
        and any(
            isinstance(argument, ast.Constant) and str(argument.value).startswith("vca_")
            for argument in node.args
        )
    ]

    misplaced = [
        str(location)
        for _, location in declarations
        if location.file != "vca/observability/metrics.py"
    ]
    assert misplaced == []
    assert len(declarations) == len(ALL_METRICS)
    assert {class_name for class_name, _ in declarations} == METRIC_CLASSES
    assert len(ALL_METRICS) > 15


def test_a_metrics_name_ends_with_its_unit() -> None:
    for metric in ALL_METRICS:
        assert re.fullmatch("vca_[a-z_]+", metric.name)
        assert metric.name.endswith(_SUFFIXES), metric.name
        assert metric.help.endswith("."), metric.name
        assert isinstance(metric, Histogram) <= metric.name.endswith("_seconds")


def test_no_metric_has_a_label_that_names_a_tenant_or_a_person() -> None:
    for metric in ALL_METRICS:
        for label in metric.labels:
            assert not re.search("tenant|key|number|call_id|caller", label), metric.name


def test_label_values_equal_the_enumerations_of_the_product() -> None:
    assert set(metrics.END_REASONS) == set(state_machine.END_REASONS)
    assert set(metrics.MODEL_FAILURES) == set(get_args(ModelFailure))
    assert set(metrics.ANALYSIS_RESULTS) == {"done", *analysis_state.REASONS}
    assert set(metrics.DIALLING_REFUSALS) == set(get_args(dialling.DenialCode))
    assert set(ADAPTERS) <= set(metrics.CARRIERS)


def test_the_metric_of_jobs_counts_every_job_of_the_worker(bare_app: Flask) -> None:
    worker_app = worker_loop.create_worker_app(
        str(bare_app.extensions["vca"].settings.database_dsn)
    )
    job_names = {name for name in worker_app.tasks if "procrastinate." not in name}

    assert job_names == set(metrics.JOBS.labels["task"]) - {OTHER}
