"""The suite's canary would be seen: in a log, in a job, in a metric."""

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy.exc import IntegrityError

from tests.support import canary
from tests.support.carrier_line import CALLER
from tests.support.world import Tenant
from vca.jobs import queue
from vca.observability import log
from vca.tenancy.session import tenant_session

SAID = f"I am {canary.WORD}, please call me."


@pytest.mark.parametrize(
    "line",
    [SAID, CALLER, CALLER[1:], "+442071838750", "whsec_c2VjcmV0", "vca_12345678_more"],
)
def test_a_line_with_what_no_log_may_hold_is_found(line: str) -> None:
    assert canary.found_in(f'{{"ok": 1}}\n{{"said": "{line}"}}\n{{}}') == f'{{"said": "{line}"}}'


@pytest.mark.parametrize(
    "line", ["vca_12345678", "vca_test_433_gw0", "+44•••8750", "2030-01-01T00:00:00+00:00"]
)
def test_what_a_log_may_hold_is_not(line: str) -> None:
    assert canary.found_in(line) is None


def test_a_line_is_looked_at_as_it_is_logged(
    app: Flask, bad_lines: Callable[[], list[str]]
) -> None:
    log.get_logger().info("harmless")
    log.get_logger().info("careless", said=SAID.lower())

    assert ["careless" in line for line in bad_lines()] == [True]


@pytest.mark.parametrize("said", [SAID, CALLER])
def test_no_job_can_be_enqueued_that_names_a_person(acme: Tenant, said: str) -> None:
    with (
        pytest.raises(IntegrityError, match="no_canary_check"),
        tenant_session(acme.ref) as session,
    ):
        queue.enqueue(session, "messages.mail", to=said)


def test_a_metric_that_names_a_person_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary.prometheus, "exposition", lambda: f'x{{who="{SAID}"}} 1'.encode())

    with pytest.raises(AssertionError):
        canary.check_metrics()
