"""Metrics are declared in one place, speak the product's vocabularies, and name no tenant."""

import ast
import re
from typing import get_args

from flask import Flask

from tests.support.ast_index import source_modules
from vca.conversation.llm import ModelFailure
from vca.jobs import worker_loop
from vca.observability import metrics, prometheus
from vca.observability.metrics import Gauge
from vca.observability.prometheus import OTHER, Histogram
from vca.telephony.providers import ADAPTERS
from vca.tenant.calls.core import state_machine
from vca.tenant.settings import dialling

READINGS = [value for value in vars(metrics).values() if isinstance(value, Gauge)]
ALL = [*prometheus.BaseMetric.instances, *READINGS]
_ENDINGS = ("_total", "_seconds", "_calls", "_up", "_registrations", "_head", "_tenants")


def test_metrics_are_declared_in_one_place() -> None:
    elsewhere = [
        str(module.location_of(node))
        for module in source_modules(roots=("vca",))
        for called, node in module.calls()
        if called.rpartition(".")[2] in ("Counter", "Histogram", "Reading", "Gauge")
        and any(
            isinstance(argument, ast.Constant) and str(argument.value).startswith("vca_")
            for argument in node.args
        )
        and module.path != "vca/observability/metrics.py"
    ]

    assert elsewhere == []
    assert len(ALL) > 15


def test_names_say_what_is_counted_and_in_which_unit() -> None:
    for metric in ALL:
        assert re.fullmatch("vca_[a-z_]+", metric.name)
        assert metric.name.endswith(_ENDINGS), metric.name
        assert metric.help.endswith("."), metric.name
        assert isinstance(metric, Histogram) <= metric.name.endswith("_seconds")


def test_no_metric_names_a_tenant() -> None:
    for metric in ALL:
        for label in metric.labels:
            assert not re.search("tenant|key|number|call_id|caller", label), metric.name


def test_labels_are_the_vocabularies_of_the_product() -> None:
    assert set(metrics.END_REASONS) == set(state_machine.END_REASONS)
    assert set(metrics.MODEL_FAILURES) == set(get_args(ModelFailure))
    assert set(metrics.DIALLING_REFUSALS) == set(get_args(dialling.DenialCode))
    assert set(ADAPTERS) <= set(metrics.CARRIERS)


def test_the_jobs_that_are_counted_are_the_ones_that_a_worker_does(bare_app: Flask) -> None:
    queue = worker_loop.create_worker_app(str(bare_app.extensions["settings"].database_dsn))
    own = {name for name in queue.tasks if "procrastinate." not in name}

    assert own == set(metrics.TASKS) - {OTHER}
