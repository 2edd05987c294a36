"""The alert rules: each names series that exist from the start, says what to do, and fires."""

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
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.architecture.conftest import UNREACHABLE_SETTINGS
from tests.support.ast_index import ROOT
from vca.observability import metrics, prometheus
from vca.observability.metrics import Gauge
from vca.observability.prometheus import Histogram

RULES = ROOT / "ops" / "alerts.yml"
CASES = ROOT / "ops" / "alerts.test.yml"
PROMTOOL = shutil.which("promtool")
GAUGES = {value.name for value in vars(metrics).values() if isinstance(value, Gauge)}
METERS = {
    f"{meter.name}{part}": meter
    for meter in prometheus.BaseMetric.instances
    for part in (("_bucket", "_sum", "_count") if isinstance(meter, Histogram) else ("",))
}
Series = tuple[str, frozenset[tuple[str, str]]]

# Rules that one event makes fire, and a series with exactly one event.
_ONE_EVENT_IS_ENOUGH = re.compile(r"increase\(.*\) > 0$")
_ONE_EVENT = re.compile(r"0x\d+ 1x\d+")
_NAME = re.compile(r"\bvca_[a-z_]+")
_SELECTOR = re.compile(r"\b(?P<name>vca_[a-z_]+)(?:\{(?P<matchers>[^}]*)\})?")
_MATCHER = re.compile(r'(?P<label>\w+)\s*(?:=~|!~|!=|=)\s*"(?P<values>[^"]*)"')
# Labels that Prometheus itself adds to what it scrapes.
_OF_THE_TARGET = {"job", "instance"}
_SCRAPE = """
import json, sys
from vca.app import create_app
from vca.settings import read_settings
settings = json.loads(sys.argv[1])
headers = {"Authorization": "Bearer " + settings["METRICS_TOKEN"]}
answer = create_app(read_settings(settings)).test_client().get("/metrics", headers=headers)
assert answer.status_code == 200, answer.text
print(answer.text, end="")
"""

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None,
    reason="promtool is not installed (Debian and Ubuntu: it is in the package prometheus)",
)


@pytest.fixture(scope="module")
def first_scrape() -> dict[Series, float]:
    """Every series, and its value, of the first answer of a process to `GET /metrics`."""
    settings = json.dumps({**UNREACHABLE_SETTINGS, "METRICS_TOKEN": "t" * 32, "LOG_LEVEL": "error"})
    command = [sys.executable, "-c", _SCRAPE, settings]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(run.stdout)
        for sample in family.samples
    }


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = yaml.safe_load(CASES.read_text())["tests"]
    return cases


def _selectors(expression: str) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """The metrics of an expression, each with the label values that it is matched against."""
    for selector in _SELECTOR.finditer(expression):
        matchers = _MATCHER.finditer(selector["matchers"] or "")
        yield selector["name"], {match["label"]: match["values"].split("|") for match in matchers}


def _counted(expression: str) -> set[str]:
    """The counters, and the series of histograms, that an expression names."""
    return set(_NAME.findall(expression)) & METERS.keys()


# --- Series -------------------------------------------------------------------------------------


def test_every_metric_that_an_alert_names_exists() -> None:
    names = {name for rule in _rules() for name in _NAME.findall(rule["expr"])}

    assert names - METERS.keys() - GAUGES == set()
    assert len(names) > 8


def test_every_label_value_that_an_alert_names_exists() -> None:
    for rule in _rules():
        for name, matchers in _selectors(rule["expr"]):
            labels = METERS[name].labels if name in METERS else {}
            for label, values in matchers.items():
                assert set(values) <= set(labels.get(label, ())), (rule["alert"], label)


def test_every_counter_of_an_alert_is_at_zero_for_all_label_values_from_the_start(
    first_scrape: dict[Series, float],
) -> None:
    names = {name for rule in _rules() for name in _counted(rule["expr"])}

    for name in names:
        labels = METERS[name].labels
        values = {key[1]: value for key, value in first_scrape.items() if key[0] == name}
        exposed = {frozenset(pair for pair in pairs if pair[0] != "le") for pairs in values}
        assert exposed == {
            frozenset(zip(labels, combination, strict=True))
            for combination in product(*labels.values())
        }
        if METERS[name] is not metrics.POOL_WAIT_SECONDS:  # the scrape itself waits once
            assert set(values.values()) == {0.0}, name
    assert len(names) > 10


# --- Rules --------------------------------------------------------------------------------------


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in _rules()]

    assert len(names) == len(set(names))
    for rule in _rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "do"}
        for text in rule["annotations"].values():
            assert "\n" not in text.strip()
            assert text.endswith(".")


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    fires: set[str] = set()
    stays_quiet: set[str] = set()
    for case in _cases():
        alert = case["name"].partition(":")[0]
        samples = [test["exp_samples"] for test in case["promql_expr_test"]]
        (fires if any(samples) else stays_quiet).add(alert)
        for test in case["promql_expr_test"]:
            assert f'alertname="{alert}"' in test["expr"], case["name"]

    alerts = {rule["alert"] for rule in _rules()}
    assert fires == alerts
    assert stays_quiet == alerts


def test_an_alert_that_one_event_is_enough_for_has_a_case_with_the_first_event() -> None:
    alerts = {rule["alert"] for rule in _rules() if _ONE_EVENT_IS_ENOUGH.match(rule["expr"])}
    first_events = {
        case["name"].partition(":")[0]
        for case in _cases()
        if any(test["exp_samples"] for test in case["promql_expr_test"])
        and all(_ONE_EVENT.fullmatch(series["values"]) for series in case.get("input_series", ()))
    }

    assert alerts - first_events == set()
    assert len(alerts) > 1


def test_the_cases_use_series_as_a_process_that_has_just_started_exposes_them(
    first_scrape: dict[Series, float],
) -> None:
    exposed = {(name, labels) for name, labels in first_scrape if name in METERS}
    for case in _cases():
        for series in case.get("input_series", ()):
            ((name, matchers),) = list(_selectors(series["series"])) or [("up", {})]
            labels = frozenset(
                (label, values[0])
                for label, values in matchers.items()
                if label not in _OF_THE_TARGET
            )
            if name in METERS:
                assert (name, labels) in exposed, series
                assert re.match(r"0[x+]", series["values"]), series
            else:
                assert name in GAUGES | {"up"}, series


@needs_promtool
@pytest.mark.parametrize(("command", "file"), [("check", RULES), ("test", CASES)])
def test_promtool_accepts_the_rules_and_every_case(command: str, file: Path) -> None:
    arguments = [str(PROMTOOL), command, "rules", str(file)]
    run = subprocess.run(arguments, capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr
