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

from tests.support.carrier_line import CALLER
from vca.observability import log, prometheus

WORD = "canarybird"
_OF_PEOPLE = re.compile(f"{WORD}|{CALLER[1:]}", re.IGNORECASE)
# Besides: secrets of webhooks, more of a key than its prefix (and no test's database), any number.
_OF_LOGS = re.compile(
    rf"{_OF_PEOPLE.pattern}|whsec_|vca_(?!test_)\w{{8}}_\w|\+[1-9]\d{{7,}}", re.IGNORECASE
)
# Jobs of a phone number name the number, which is the tenant's own and no person's.
NO_JOB_NAMES_IT = f"""
ALTER TABLE jobs.procrastinate_jobs
    ADD CONSTRAINT no_canary_check CHECK (args::text !~* '{_OF_PEOPLE.pattern}|whsec_')
"""


def found_in(output: str) -> str | None:
    """The first line that says what it must not, if there is one."""
    found = _OF_LOGS.search(output)
    if found is None:
        return None
    begins, ends = output.rfind("\n", 0, found.start()), output.find("\n", found.end())
    return output[begins + 1 : ends if ends >= 0 else None]


@contextmanager
def watching_logs() -> Iterator[Callable[[], list[str]]]:
    """Look at each line that is logged inside; what comes back hands over those that were bad."""
    bad: list[str] = []
    render = log._render_line

    def rendered(*given: Any) -> str:
        line = render(*given)
        if found_in(line):
            bad.append(line)
        return line

    def taken() -> list[str]:
        found = bad[:]
        bad.clear()
        return found

    log._render_line = rendered
    yield taken
    log._render_line = render


def check_output(output: Path) -> None:
    """Fail if a program has printed what it must not."""
    bad = found_in(output.read_text(errors="replace"))
    assert bad is None, bad


def check_metrics() -> None:
    """Fail if this process has counted under a name that it must not know."""
    assert _OF_PEOPLE.search(prometheus.exposition().decode()) is None
