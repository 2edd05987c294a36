"""A word in all sensitive test data, and checks that it never leaks to logs, jobs or metrics.

The suite puts the word into what callers say and are called, into prompts, secrets and numbers.
Every logged line is checked, in this process and in the programs that tests run. The job queue has
a constraint that rejects arguments with the word. Metrics are checked at the end of the run.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.carrier_client import CALLER
from vca.observability import log, prometheus

SENTINEL = "canarybird"
_PERSONAL_DATA = re.compile(f"{SENTINEL}|{CALLER[1:]}", re.IGNORECASE)
# Forbidden as well: webhook secrets, more of a key than its prefix (except the names of test
# databases), and any phone number.
_FORBIDDEN_IN_LOGS = re.compile(
    rf"{_PERSONAL_DATA.pattern}|whsec_|vca_(?!test_)\w{{8}}_\w|\+[1-9]\d{{7,}}", re.IGNORECASE
)
# Jobs of a phone number contain the number, because it belongs to the tenant and not to a person.
FORBID_IN_JOBS_SQL = f"""
ALTER TABLE jobs.procrastinate_jobs
    ADD CONSTRAINT no_canary_check CHECK (args::text !~* '{_PERSONAL_DATA.pattern}|whsec_')
"""


def first_leaking_line(output: str) -> str | None:
    """Return the first line with forbidden data, or None."""
    match = _FORBIDDEN_IN_LOGS.search(output)
    if match is None:
        return None
    start, end = output.rfind("\n", 0, match.start()), output.find("\n", match.end())
    return output[start + 1 : end if end >= 0 else None]


@contextmanager
def watch_logs() -> Iterator[Callable[[], list[str]]]:
    """Check each logged line; yield a function that returns and clears the leaking lines."""
    leaking_lines: list[str] = []
    render = log._render_line

    def render_and_check(*arguments: Any) -> str:
        line = render(*arguments)
        if first_leaking_line(line):
            leaking_lines.append(line)
        return line

    def pop_lines() -> list[str]:
        lines = leaking_lines[:]
        leaking_lines.clear()
        return lines

    log._render_line = render_and_check  # type: ignore[assignment] # the same positional arguments
    yield pop_lines
    log._render_line = render


def check_output(output: Path) -> None:
    """Fail if a program has printed forbidden data."""
    leaking_line = first_leaking_line(output.read_text(errors="replace"))
    assert leaking_line is None, leaking_line


def check_metrics() -> None:
    """Fail if a label or name of this process's metrics contains personal data."""
    assert _PERSONAL_DATA.search(prometheus.exposition().decode()) is None
