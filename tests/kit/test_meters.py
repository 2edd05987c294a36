"""Meters: closed labels, and counts of several processes that outlive each of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.loaded import loader
from tests.support.source import ROOT
from vca.kit import meters, metrics

_COUNT = """
import os, signal, sys
from pathlib import Path
from vca.kit import meters, metrics
meters.count_in(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    metrics.ISOLATION_ALARMS.inc()
    metrics.TURN_SECONDS.observe(0.4, stage="model")
if sys.argv[3:] == ["wait"]:
    print("counted", flush=True)
    sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where this process counts while the test lasts."""
    meters.count_in(tmp_path / "metrics")
    yield tmp_path / "metrics"
    meters.count_in(None)


def _series() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(meters.exposition().decode())
        for sample in family.samples
    }


def _value(name: str, **labels: str) -> float:
    return _series().get((name, frozenset(labels.items())), 0.0)


def _elsewhere(folder: Path, times: int) -> None:
    """Count in a process of its own, which is killed afterwards."""
    command = [sys.executable, "-c", _COUNT, str(folder), str(times)]
    with open(os.devnull, "wb") as nowhere:
        process = loader().start(command, {}, nowhere.fileno())
    assert process.wait(20) == -9


# --- Labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PROPFIND", "get", "G\xcbT", "", "\x00", "DELETE\n"])
def test_what_is_not_in_a_labels_set_counts_as_other(folder: Path, method: str) -> None:
    metrics.HTTP_REQUESTS.inc(method=method, status_class="2xx")

    assert _value("vca_http_requests_total", method="other", status_class="2xx") == 1
    assert len([name for name, _ in _series() if name == "vca_http_requests_total"]) == 1


def test_no_stranger_can_make_a_metric_grow_without_end(folder: Path) -> None:
    for number in range(meters.MOST_SERIES + 100):
        metrics.DIALLING_REFUSED.inc(code=f"code-{number}")
        metrics.HTTP_REQUESTS.inc(method=f"M{number}", status_class="4xx")

    names = [name for name, _ in _series()]
    assert names.count("vca_dialling_refused_total") == meters.MOST_SERIES + 1
    assert names.count("vca_http_requests_total") == 1
    assert _value("vca_dialling_refused_total", code="other") == 100


def test_flags_are_written_as_words(folder: Path) -> None:
    metrics.CALLS_BEGUN.inc(direction="inbound", carrier="fake", simulated=True)

    told = {"direction": "inbound", "carrier": "fake", "simulated": "true"}
    assert _value("vca_calls_begun_total", **told) == 1


def test_a_label_that_is_not_given_is_a_mistake(folder: Path) -> None:
    with pytest.raises(KeyError):
        metrics.HTTP_REQUESTS.inc(method="GET")


# --- Processes ----------------------------------------------------------------------------------


def test_counts_of_several_processes_add_up_and_survive_each_of_them(folder: Path) -> None:
    metrics.ISOLATION_ALARMS.inc()
    _elsewhere(folder, 2)
    _elsewhere(folder, 3)

    assert _value("vca_isolation_alarms_total") == 6
    assert _value("vca_turn_seconds_count", stage="model") == 5
    assert _value("vca_turn_seconds_bucket", stage="model", le="0.3") == 0
    assert _value("vca_turn_seconds_bucket", stage="model", le="0.5") == 5


def test_settling_changes_no_value_and_leaves_one_file_of_each_kind(folder: Path) -> None:
    metrics.ISOLATION_ALARMS.inc()
    for times in (1, 2, 3):
        _elsewhere(folder, times)
        before = _series()
        meters.settle(folder)
        assert _series() == before

    metrics.ISOLATION_ALARMS.inc()

    assert _value("vca_isolation_alarms_total") == 8
    assert _value("vca_turn_seconds_sum", stage="model") == pytest.approx(6 * 0.4)
    ended = {file.name for file in folder.glob("*_ended.db")}
    assert ended == {"counter_ended.db", "histogram_ended.db"}
    assert len(list(folder.glob("*.db"))) == 4


def test_a_process_that_runs_keeps_its_files_whoever_begins_or_settles(folder: Path) -> None:
    command = [sys.executable, "-c", _COUNT, str(folder), "4", "wait"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"counted\n"
        _elsewhere(folder, 2)
        meters.settle(folder)
        assert _value("vca_isolation_alarms_total") == 6

        meters.begin(folder)

        assert _value("vca_isolation_alarms_total") == 4
        assert not list(folder.glob("*_ended.db"))
        worker.communicate()
    assert _value("vca_isolation_alarms_total") == 4


def test_a_file_that_was_cut_short_as_it_was_made_spoils_nothing(folder: Path) -> None:
    _elsewhere(folder, 2)
    (folder / "counter_999999999.db").touch()

    meters.settle(folder)

    assert _value("vca_isolation_alarms_total") == 2


def test_without_a_folder_a_process_counts_for_itself(folder: Path) -> None:
    metrics.ISOLATION_ALARMS.inc()

    meters.count_in(None)
    assert _value("vca_isolation_alarms_total") == 0
    metrics.ISOLATION_ALARMS.inc()
    assert _value("vca_isolation_alarms_total") == 1
