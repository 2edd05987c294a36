"""Which test runs use the Postgres server of this checkout; imports nothing of the product."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[2] / ".vca"


def path_of(run_id: int) -> Path:
    """Return the file that exists while the run with this controller's process id uses a server."""
    return _FOLDER / f"test-server-{run_id}"


@contextmanager
def locked(run_id: int) -> Iterator[Path]:
    """Yield the run's file; processes of this checkout take turns."""
    _FOLDER.mkdir(exist_ok=True)
    with (_FOLDER / "test-server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path_of(run_id)
