"""Tests of metrics: label values, initial series, and sums over several processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.ast_index import ROOT
from tests.support.fork_server import current_fork_server
from vca.observability import metrics, prometheus

Series = tuple[str, frozenset[tuple[str, str]]]

_EXPOSE_PROGRAM = """
import sys
from pathlib import Path
from vca.observability import metrics, prometheus
if sys.argv[2:]:
    prometheus.remove_dead_process_files(Path(sys.argv[2]))
    prometheus.configure_metrics(Path(sys.argv[2]))
metrics.JOBS.add_label_values("task", sys.argv[1].split())
print(prometheus.exposition().decode(), end="")
"""
_COUNT_PROGRAM = """
import os, signal, sys
from pathlib import Path
from vca.observability import metrics, prometheus
prometheus.configure_metrics(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    metrics.ISOLATION_ALARMS.inc()
    metrics.TURN_SECONDS.observe(0.4, stage="model")
if sys.argv[3:] == ["wait"]:
    print("counted", flush=True)
    sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""
_HOLD_PROGRAM = _COUNT_PROGRAM.replace(
    "metrics.ISOLATION_ALARMS.inc()", 'metrics.ADMISSIONS_IN_USE.add(1, admission="calling_out")'
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Let this process write metrics to a folder during the test."""
    prometheus.configure_metrics(tmp_path / "metrics")
    yield tmp_path / "metrics"
    prometheus.configure_metrics(None)


def _series() -> dict[Series, float]:
    return _parse(prometheus.exposition().decode())


def _parse(text: str) -> dict[Series, float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _value(name: str, **labels: str) -> float:
    return _series()[name, frozenset(labels.items())]


def _all_series_at_zero() -> dict[Series, float]:
    """Return every series that the declared metrics can have, with the value 0."""
    zeros: dict[Series, float] = {}
    for metric in prometheus.BaseMetric.instances:
        for values in product(*metric.labels.values()):
            labels = dict(zip(metric.labels, values, strict=True))
            if isinstance(metric, prometheus.Histogram):
                bounds = [*(str(float(bound)) for bound in metric.buckets), "+Inf"]
                for bound in bounds:
                    bucket = frozenset({**labels, "le": bound}.items())
                    zeros[f"{metric.name}_bucket", bucket] = 0.0
                zeros[f"{metric.name}_count", frozenset(labels.items())] = 0.0
                zeros[f"{metric.name}_sum", frozenset(labels.items())] = 0.0
            else:
                zeros[metric.name, frozenset(labels.items())] = 0.0
    return zeros


def _count_in_other_process(folder: Path, times: int, program: str = _COUNT_PROGRAM) -> None:
    """Increase metrics in another process, which is killed afterwards."""
    command = [sys.executable, "-c", program, str(folder), str(times)]
    with open(os.devnull, "wb") as null_file:
        process = current_fork_server().start(command, {}, null_file.fileno())
    assert process.wait(20) == -9


# --- Initial series -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["memory", "folder"])
def test_a_new_process_exposes_every_series_at_zero(mode: str, tmp_path: Path) -> None:
    arguments = [str(tmp_path / "metrics")] if mode == "folder" else []

    tasks = " ".join(metrics.JOBS.labels["task"])  # of the app, if this process has created one

    command = [sys.executable, "-c", _EXPOSE_PROGRAM, tasks, *arguments]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert _parse(process.stdout) == _all_series_at_zero()
    assert len(_all_series_at_zero()) > 300


def test_every_configuration_of_metrics_starts_with_all_series(tmp_path: Path) -> None:
    for folder in (tmp_path / "first", tmp_path / "second", None):
        prometheus.configure_metrics(folder)
        assert _series() == _all_series_at_zero()
        metrics.JOBS.inc(task="calls.dial", outcome="rescued")
        assert _value("vca_jobs_total", task="calls.dial", outcome="rescued") == 1
    prometheus.configure_metrics(None)

    assert _series() == _all_series_at_zero()


def test_the_first_event_of_another_process_increases_from_zero(folder: Path) -> None:
    assert _value("vca_isolation_alarms_total") == 0
    assert _value("vca_turn_seconds_count", stage="model") == 0

    _count_in_other_process(folder, 1)

    assert _value("vca_isolation_alarms_total") == 1
    assert _value("vca_turn_seconds_count", stage="model") == 1
    assert _series().keys() == _all_series_at_zero().keys()


def test_all_series_exist_after_merging_and_removing_files(folder: Path) -> None:
    prometheus.configure_metrics(None)
    _count_in_other_process(folder, 1)
    prometheus.merge_dead_process_files(folder)

    prometheus.configure_metrics(folder)

    assert _series().keys() == _all_series_at_zero().keys()
    assert _value("vca_isolation_alarms_total") == 1

    prometheus.configure_metrics(None)
    prometheus.remove_dead_process_files(folder)
    prometheus.configure_metrics(folder)

    assert _series().keys() == _all_series_at_zero().keys()


# --- Labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PROPFIND", "get", "G\xcbT", "", "\x00", "DELETE\n"])
def test_an_unknown_label_value_counts_as_other(folder: Path, method: str) -> None:
    metrics.HTTP_REQUESTS.inc(method=method, status_class="2xx")

    assert _value("vca_http_requests_total", method="other", status_class="2xx") == 1
    assert _series().keys() == _all_series_at_zero().keys()


def test_arbitrary_label_values_add_at_most_one_series(folder: Path) -> None:
    for number in range(100):
        metrics.DIALLING_REFUSED.inc(code=f"code-{number}")
        metrics.HTTP_REQUESTS.inc(method=f"M{number}", status_class="4xx")

    assert _value("vca_dialling_refused_total", code="other") == 100
    assert _value("vca_http_requests_total", method="other", status_class="4xx") == 100
    assert len(_series()) == len(_all_series_at_zero()) + 1


def test_a_metric_with_too_many_series_cannot_be_declared() -> None:
    values = [str(number) for number in range(30)]

    with pytest.raises(ValueError, match="vca_too_many_total has 900 series"):
        prometheus.Counter("vca_too_many_total", "Too many.", {"one": values, "two": values})

    assert "vca_too_many_total" not in {metric.name for metric in prometheus.BaseMetric.instances}


def test_boolean_labels_are_written_as_words(folder: Path) -> None:
    metrics.CALLS_BEGUN.inc(direction="inbound", carrier="fake", simulated=True)

    labels = {"direction": "inbound", "carrier": "fake", "simulated": "true"}
    assert _value("vca_calls_begun_total", **labels) == 1


def test_a_missing_label_raises_key_error(folder: Path) -> None:
    with pytest.raises(KeyError):
        metrics.HTTP_REQUESTS.inc(method="GET")


# --- Processes ----------------------------------------------------------------------------------


def test_counts_of_several_processes_are_added_and_outlive_them(folder: Path) -> None:
    metrics.ISOLATION_ALARMS.inc()
    _count_in_other_process(folder, 2)
    _count_in_other_process(folder, 3)

    assert _value("vca_isolation_alarms_total") == 6
    assert _value("vca_turn_seconds_count", stage="model") == 5
    assert _value("vca_turn_seconds_bucket", stage="model", le="0.3") == 0
    assert _value("vca_turn_seconds_bucket", stage="model", le="0.5") == 5


def test_merging_changes_no_value_and_leaves_one_file_of_each_kind(folder: Path) -> None:
    metrics.ISOLATION_ALARMS.inc()
    for times in (1, 2, 3):
        _count_in_other_process(folder, times)
        before = _series()
        prometheus.merge_dead_process_files(folder)
        assert _series() == before

    metrics.ISOLATION_ALARMS.inc()

    assert _value("vca_isolation_alarms_total") == 8
    assert _value("vca_turn_seconds_sum", stage="model") == pytest.approx(6 * 0.4)
    merged_files = {file.name for file in folder.glob("*_ended.db")}
    assert merged_files == {"counter_ended.db", "histogram_ended.db"}
    own_kinds = ("counter", "histogram", "gauge_livesum")
    own_files = {f"{kind}_{os.getpid()}.db" for kind in own_kinds}
    assert {file.name for file in folder.glob("*.db")} == merged_files | own_files


def test_what_an_ended_process_held_is_not_counted(folder: Path) -> None:
    metrics.ADMISSIONS_IN_USE.add(2, admission="calling_out")
    metrics.ADMISSIONS_IN_USE.add(-1, admission="calling_out")
    _count_in_other_process(folder, 3, _HOLD_PROGRAM)

    held_with_ended = _value("vca_admissions_in_use", admission="calling_out")
    prometheus.merge_dead_process_files(folder)

    assert held_with_ended == 4
    assert _value("vca_admissions_in_use", admission="calling_out") == 1


def test_files_of_a_running_process_are_not_merged_or_removed(folder: Path) -> None:
    command = [sys.executable, "-c", _COUNT_PROGRAM, str(folder), "4", "wait"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"counted\n"
        _count_in_other_process(folder, 2)
        prometheus.merge_dead_process_files(folder)
        assert _value("vca_isolation_alarms_total") == 6

        prometheus.remove_dead_process_files(folder)

        assert _value("vca_isolation_alarms_total") == 4
        assert not list(folder.glob("*_ended.db"))
        worker.communicate()
    assert _value("vca_isolation_alarms_total") == 4


def test_an_empty_file_does_not_change_the_merged_values(folder: Path) -> None:
    _count_in_other_process(folder, 2)
    (folder / "counter_999999999.db").touch()

    prometheus.merge_dead_process_files(folder)

    assert _value("vca_isolation_alarms_total") == 2


def test_without_a_folder_a_process_counts_in_memory(folder: Path) -> None:
    metrics.ISOLATION_ALARMS.inc()

    prometheus.configure_metrics(None)
    assert _value("vca_isolation_alarms_total") == 0
    metrics.ISOLATION_ALARMS.inc()
    assert _value("vca_isolation_alarms_total") == 1
