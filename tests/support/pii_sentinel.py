"""A word in sensitive texts throughout the suite, and the places where it must never turn up.

Premises, prompts and callers bear it through the whole suite: what people say and are called, what
agents are told, secrets and numbers. Every line that is logged is looked at, in this process and in
the programs that tests run; no job is enqueued that names any of it; and no metric does at the end.
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
# Besides: secrets of webhooks, more of a key than its prefix (and no test's database), any number.
_FORBIDDEN_IN_LOGS = re.compile(
    rf"{_PERSONAL_DATA.pattern}|whsec_|vca_(?!test_)\w{{8}}_\w|\+[1-9]\d{{7,}}", re.IGNORECASE
)
# Jobs of a phone number name the number, which is the tenant's own and no person's.
FORBID_IN_JOBS_SQL = f"""
ALTER TABLE jobs.procrastinate_jobs
    ADD CONSTRAINT no_canary_check CHECK (args::text !~* '{_PERSONAL_DATA.pattern}|whsec_')
"""


def first_leaking_line(output: str) -> str | None:
    """The first line that says what it must not, if there is one."""
    match = _FORBIDDEN_IN_LOGS.search(output)
    if match is None:
        return None
    start, end = output.rfind("\n", 0, match.start()), output.find("\n", match.end())
    return output[start + 1 : end if end >= 0 else None]


@contextmanager
def watch_logs() -> Iterator[Callable[[], list[str]]]:
    """Look at each line that is logged inside; what comes back hands over those that were bad."""
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

    log._render_line = render_and_check
    yield pop_lines
    log._render_line = render


def check_output(output: Path) -> None:
    """Fail if a program has printed what it must not."""
    leaking_line = first_leaking_line(output.read_text(errors="replace"))
    assert leaking_line is None, leaking_line


def check_metrics() -> None:
    """Fail if this process has counted under a name that it must not know."""
    assert _PERSONAL_DATA.search(prometheus.exposition().decode()) is None
