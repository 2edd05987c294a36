"""Counters, histograms and gauges over several processes, with a closed set of values per label.

Each process writes files of its own in one folder, and a scrape adds them up. Without a folder,
each process counts in its own memory. File names contain process ids, so machines must not share a
folder.
"""

import fcntl
import math
import os
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest, values
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from vca import settings
from vca.observability import log

ClientMetric = TypeVar("ClientMetric", bound=MetricWrapperBase)
Labels = Mapping[str, Sequence[str]]

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4
OTHER = "other"
BOOL_VALUES = ("true", "false")
# The limit per metric. Each series costs memory in every process and in Prometheus, even if it is
# never counted.
MAX_SERIES = 500
_DEAD = "ended"
_KINDS = ("counter", "histogram")
# Files of gauges. Their values have no meaning after their process has ended.
_GAUGE_FILES = "gauge_*.db"

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class BaseMetric(Generic[ClientMetric]):
    """A metric. Each label has a closed set of values; any other value counts as `other`.

    Every series of these sets exists with value 0 from the start of a process. Prometheus computes
    an increase only between two samples of a series, so it would miss the first event of a series
    that appears with that event. No label may name a tenant.
    """

    instances: ClassVar[list["BaseMetric[Any]"]] = []

    def __init__(self, name: str, help_text: str, labels: Labels | None = None) -> None:
        self.name = name
        self.help = help_text
        self._set_labels(labels or {})
        self.attach(_registry)
        self.instances.append(self)

    def attach(self, registry: CollectorRegistry) -> None:
        """Count in this registry from now on, with every series at 0."""
        self._metric = self._create(registry)
        self._create_children()

    def add_label_values(self, label: str, values: Iterable[str]) -> None:
        """Add values to the set of a label, for values that only higher packages know."""
        added = sorted(set(values).difference(self.labels[label]))
        self._set_labels({**self.labels, label: (*self.labels[label], *added)})
        self._create_children()

    def _set_labels(self, labels: Labels) -> None:
        series = math.prod(len(allowed) for allowed in labels.values())
        if series > MAX_SERIES:
            raise ValueError(f"{self.name} has {series} series; {MAX_SERIES} are allowed")
        self.labels = labels
        self._label_texts = [_texts_by_value(allowed) for allowed in labels.values()]

    def _create_children(self) -> None:
        self._children: dict[tuple[object, ...], ClientMetric] = {
            values: self._create_child(values) for values in product(*self._label_texts)
        }

    def _create(self, registry: CollectorRegistry) -> ClientMetric:
        raise NotImplementedError

    def _child(self, labels: Mapping[str, object]) -> ClientMetric:
        """Return the series with these labels."""
        values = tuple([labels[name] for name in self.labels])
        child = self._children.get(values)
        return child if child is not None else self._create_child(values)

    def _create_child(self, values: tuple[object, ...]) -> ClientMetric:
        """Create or return the series of these values; a value outside its set becomes `other`."""
        if not values:
            return self._metric
        pairs = zip(self._label_texts, values, strict=True)
        return self._metric.labels(*[texts.get(value, OTHER) for texts, value in pairs])


class Counter(BaseMetric[prometheus_client.Counter]):
    """A counter of events; its name ends in `_total`."""

    def inc(self, **labels: object) -> None:
        """Count one event."""
        self._child(labels).inc()

    def _create(self, registry: CollectorRegistry) -> prometheus_client.Counter:
        return prometheus_client.Counter(
            self.name, self.help, tuple(self.labels), registry=registry
        )


class ProcessGauge(BaseMetric[prometheus_client.Gauge]):
    """A number of things that running processes hold now; a scrape adds the processes up."""

    def add(self, change: int, **labels: object) -> None:
        """Change the number by `change`, which may be negative."""
        self._child(labels).inc(change)

    def _create(self, registry: CollectorRegistry) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(
            self.name,
            self.help,
            tuple(self.labels),
            registry=registry,
            multiprocess_mode="livesum",
        )


class Histogram(BaseMetric[prometheus_client.Histogram]):
    """A histogram of durations; its name ends in `_seconds`."""

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Labels | None = None,
        *,
        buckets: Sequence[float],
    ) -> None:
        self.buckets = buckets
        super().__init__(name, help_text, labels)

    def observe(self, seconds: float, **labels: object) -> None:
        """Record a duration."""
        self._child(labels).observe(seconds)

    def _create(self, registry: CollectorRegistry) -> prometheus_client.Histogram:
        return prometheus_client.Histogram(
            self.name, self.help, tuple(self.labels), registry=registry, buckets=self.buckets
        )


_registry = CollectorRegistry()
_folder: Path | None = None


def configure_metrics(folder: Path | None) -> None:
    """Count in files of `folder`, or in memory, starting at zero; call before serving requests."""
    global _registry, _folder
    values.close_all_multiprocess_files()  # type: ignore[no-untyped-call]
    if folder is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.export_env("PROMETHEUS_MULTIPROC_DIR", str(folder))
    # prometheus_client chooses the value class on import, before the settings are read.
    values.ValueClass = (
        values.MultiProcessValue()  # type: ignore[no-untyped-call]
        if folder
        else values.MutexValue
    )
    _registry, _folder = CollectorRegistry(), folder
    for metric in BaseMetric.instances:
        metric.attach(_registry)


def exposition() -> bytes:
    """Return the totals of all processes of the folder, also ended ones, as Prometheus text."""
    if _folder is None:
        return generate_latest(_registry)
    registry = CollectorRegistry()
    with _folder_lock(_folder, fcntl.LOCK_SH):
        MultiProcessCollector(registry, path=str(_folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def remove_dead_process_files(folder: Path) -> None:
    """Delete the files of ended processes; for the first process of a deployment.

    Running processes, such as a worker beside a restarting web server, keep their files.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _folder_lock(folder, fcntl.LOCK_EX):
        for file in folder.glob("*.db"):
            if not _is_writer_alive(file):
                file.unlink()


def merge_dead_process_files(folder: Path) -> None:
    """Merge the files of ended processes into one per kind and delete them.

    Web workers are replaced after some thousands of requests. Their files would accumulate, and
    each scrape would read them all.
    """
    with _folder_lock(folder, fcntl.LOCK_EX):
        for file in folder.glob(_GAUGE_FILES):
            if not _is_writer_alive(file):
                file.unlink()
        for kind in _KINDS:
            dead_files = [
                file for file in folder.glob(f"{kind}_*.db") if not _is_writer_alive(file)
            ]
            if any(file.stem != f"{kind}_{_DEAD}" for file in dead_files):
                _merge_files(dead_files, folder / f"{kind}_{_DEAD}.db")


def _merge_files(files: Sequence[Path], target: Path) -> None:
    totals: dict[str, float] = defaultdict(float)
    for file in files:
        for key, value in _read_series(file):
            totals[key] += value
    new_file = target.with_suffix(".new")
    new_file.unlink(missing_ok=True)
    merged_file = MmapedDict(str(new_file))  # type: ignore[no-untyped-call]
    for key, value in totals.items():
        merged_file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    merged_file.close()  # type: ignore[no-untyped-call]
    new_file.replace(target)
    for file in files:
        if file != target:
            file.unlink()


def _read_series(file: Path) -> Iterable[tuple[str, float]]:
    """Return every series of a file with its value; none if the file was truncated when created."""
    try:
        entries = MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
        return [(key, value) for key, value, *_ in entries]
    except (RuntimeError, ValueError, struct.error) as error:
        log.get_logger().warning("metrics.unreadable", file=file.name, exc_info=error)
        return []


def _is_writer_alive(file: Path) -> bool:
    """Return whether the process that writes the file is still running."""
    pid = file.stem.rpartition("_")[2]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _folder_lock(folder: Path, mode: int) -> Iterator[None]:
    """Lock the folder, so that a scrape during a merge counts nothing twice or not at all."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, mode)
        yield
    finally:
        os.close(fd)


def _texts_by_value(allowed: Sequence[str]) -> Mapping[object, str]:
    """Return the text of each value that a label may have."""
    if allowed is BOOL_VALUES:
        return {True: "true", False: "false"}
    return {name: name for name in allowed}
