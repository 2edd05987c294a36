"""Run the product's worker beside a benchmark."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.postgres import ROOT, BenchmarkDatabase
from benchmarks.web import ServerNotStarted

_STOP_S = 30
_CONNECTED_WORKERS = "SELECT id FROM jobs.procrastinate_workers"


@contextmanager
def run_worker(
    database: BenchmarkDatabase, environ: Mapping[str, str], folder: Path, *, source: Path = ROOT
) -> Iterator[int]:
    """Run `flask worker` until the block ends; enter the block once it takes jobs.

    `source` is the folder of the code. Yields the process id. Raises ServerNotStarted if the worker
    ended by itself.
    """
    inherited_environ = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    log = folder / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "wsgi", "worker"],
            cwd=source,
            env={**inherited_environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        while process.poll() is None and not database.execute(_CONNECTED_WORKERS):
            time.sleep(0.1)
        yield process.pid
        if process.poll() is not None:
            raise ServerNotStarted(f"the worker ended; its log:\n{log.read_text()[-2_000:]}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
