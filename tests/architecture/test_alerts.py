"""The alert rules in `ops/alerts.yml`, their texts and their test cases."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from tests.architecture.conftest import UNREACHABLE_SETTINGS
from tests.support.ast_index import ROOT
from vca.jobs import lanes
from vca.observability import metrics, prometheus
from vca.observability.metrics import Gauge
from vca.observability.prometheus import Histogram

RULES = ROOT / "ops" / "alerts.yml"
CASES = ROOT / "ops" / "alerts.test.yml"
PROMTOOL = shutil.which("promtool")
GAUGE_NAMES = {value.name for value in vars(metrics).values() if isinstance(value, Gauge)}
METRICS_BY_SERIES = {
    f"{metric.name}{suffix}": metric
    for metric in prometheus.BaseMetric.instances
    for suffix in (("_bucket", "_sum", "_count") if isinstance(metric, Histogram) else ("",))
}
# The values of those labels of gauges that a rule may select by.
_GAUGE_LABELS = {"lane": lanes.NAMES}
Series = tuple[str, frozenset[tuple[str, str]]]

# The expression of a rule that fires after one event.
_FIRES_AFTER_ONE_EVENT = re.compile(r"increase\(.*\) > 0$")
# The values of a series with exactly one event, in promtool's notation.
_SINGLE_EVENT = re.compile(r"0x\d+ 1x\d+")
_METRIC_NAME = re.compile(r"\bvca_[a-z_]+")
_SELECTOR = re.compile(r"\b(?P<name>vca_[a-z_]+)(?:\{(?P<matchers>[^}]*)\})?")
_MATCHER = re.compile(r'(?P<label>\w+)\s*(?:=~|!~|!=|=)\s*"(?P<values>[^"]*)"')
# Labels that Prometheus adds to every series that it scrapes.
_TARGET_LABELS = {"job", "instance"}
_SCRAPE = """
import json, sys
from vca.app import create_app
from vca.settings import read_settings
settings = json.loads(sys.argv[1])
headers = {"Authorization": "Bearer " + settings["METRICS_TOKEN"]}
response = create_app(read_settings(settings)).test_client().get("/metrics", headers=headers)
assert response.status_code == 200, response.text
print(response.text, end="")
"""

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None,
    reason="promtool is not installed (on Debian and Ubuntu, install the package prometheus)",
)


@pytest.fixture(scope="module")
def first_scrape() -> dict[Series, float]:
    """Return each series and its value in the first `GET /metrics` response of a process."""
    settings = json.dumps({**UNREACHABLE_SETTINGS, "METRICS_TOKEN": "t" * 32, "LOG_LEVEL": "error"})
    command = [sys.executable, "-c", _SCRAPE, settings]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(result.stdout)
        for sample in family.samples
    }


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = yaml.safe_load(CASES.read_text())["tests"]
    return cases


def _selectors(expression: str) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Yield each metric of an expression and the values that its labels are matched against."""
    for selector in _SELECTOR.finditer(expression):
        matchers = _MATCHER.finditer(selector["matchers"] or "")
        yield selector["name"], {match["label"]: match["values"].split("|") for match in matchers}


def _metric_series(expression: str) -> set[str]:
    """Return the series of counters and histograms in an expression."""
    return set(_METRIC_NAME.findall(expression)) & METRICS_BY_SERIES.keys()


def test_every_metric_in_an_alert_exists() -> None:
    names = {name for rule in _rules() for name in _METRIC_NAME.findall(rule["expr"])}

    assert names - METRICS_BY_SERIES.keys() - GAUGE_NAMES == set()
    assert len(names) > 8


@pytest.mark.usefixtures("bare_app")  # which adds the names of tasks
def test_every_label_value_in_an_alert_exists() -> None:
    for rule in _rules():
        for name, matchers in _selectors(rule["expr"]):
            labels = METRICS_BY_SERIES[name].labels if name in METRICS_BY_SERIES else _GAUGE_LABELS
            for label, values in matchers.items():
                assert set(values) <= set(labels.get(label, ())), (rule["alert"], label)


@pytest.mark.usefixtures("bare_app")
def test_counters_in_alerts_start_at_zero_for_all_label_values(
    first_scrape: dict[Series, float],
) -> None:
    names = {name for rule in _rules() for name in _metric_series(rule["expr"])}

    for name in names:
        labels = METRICS_BY_SERIES[name].labels
        values = {key[1]: value for key, value in first_scrape.items() if key[0] == name}
        exposed = {frozenset(pair for pair in pairs if pair[0] != "le") for pairs in values}
        assert exposed == {
            frozenset(zip(labels, combination, strict=True))
            for combination in product(*labels.values())
        }
        if (
            METRICS_BY_SERIES[name] is not metrics.POOL_WAIT_SECONDS
        ):  # the scrape waits for a connection
            assert set(values.values()) == {0.0}, name
    assert len(names) > 10


def test_every_alert_has_a_severity_a_summary_and_an_instruction() -> None:
    names = [rule["alert"] for rule in _rules()]

    assert len(names) == len(set(names))
    for rule in _rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "do"}
        for text in rule["annotations"].values():
            assert "\n" not in text.strip()
            assert text.endswith(".")


def test_every_alert_has_a_case_that_fires_and_a_case_that_does_not() -> None:
    firing: set[str] = set()
    not_firing: set[str] = set()
    for case in _cases():
        alert = case["name"].partition(":")[0]
        samples = [test["exp_samples"] for test in case["promql_expr_test"]]
        (firing if any(samples) else not_firing).add(alert)
        for test in case["promql_expr_test"]:
            assert f'alertname="{alert}"' in test["expr"], case["name"]

    alerts = {rule["alert"] for rule in _rules()}
    assert firing == alerts
    assert not_firing == alerts


def test_an_alert_on_a_single_event_has_a_case_with_the_first_event() -> None:
    alerts = {rule["alert"] for rule in _rules() if _FIRES_AFTER_ONE_EVENT.match(rule["expr"])}
    first_events = {
        case["name"].partition(":")[0]
        for case in _cases()
        if any(test["exp_samples"] for test in case["promql_expr_test"])
        and all(
            _SINGLE_EVENT.fullmatch(series["values"]) for series in case.get("input_series", ())
        )
    }

    assert alerts - first_events == set()
    assert len(alerts) > 1


def test_cases_use_the_series_that_a_new_process_exposes(
    first_scrape: dict[Series, float],
) -> None:
    exposed = {(name, labels) for name, labels in first_scrape if name in METRICS_BY_SERIES}
    for case in _cases():
        for series in case.get("input_series", ()):
            ((name, matchers),) = list(_selectors(series["series"])) or [("up", {})]
            labels = frozenset(
                (label, values[0])
                for label, values in matchers.items()
                if label not in _TARGET_LABELS
            )
            if name in METRICS_BY_SERIES:
                assert (name, labels) in exposed, series
                assert re.match(r"0[x+]", series["values"]), series
            else:
                assert name in GAUGE_NAMES | {"up"}, series


@needs_promtool
@pytest.mark.parametrize(("command", "file"), [("check", RULES), ("test", CASES)])
def test_promtool_accepts_the_rules_and_the_cases(command: str, file: Path) -> None:
    arguments = [str(PROMTOOL), command, "rules", str(file)]
    result = subprocess.run(arguments, capture_output=True, text=True)

    assert result.returncode == 0, result.stdout + result.stderr
