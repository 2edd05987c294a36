"""The suite's canary would be seen: in a log, in a job, in a metric."""

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy.exc import IntegrityError

from tests.support import pii_sentinel
from tests.support.carrier_client import CALLER
from tests.support.factories import Tenant
from vca.jobs import queue
from vca.observability import log
from vca.tenancy.session import tenant_session

SAID = f"I am {pii_sentinel.SENTINEL}, please call me."


@pytest.mark.parametrize(
    "carrier_client",
    [SAID, CALLER, CALLER[1:], "+442071838750", "whsec_c2VjcmV0", "vca_12345678_more"],
)
def test_a_line_with_what_no_log_may_hold_is_found(carrier_client: str) -> None:
    assert (
        pii_sentinel.first_leaking_line(f'{{"ok": 1}}\n{{"said": "{carrier_client}"}}\n{{}}')
        == f'{{"said": "{carrier_client}"}}'
    )


@pytest.mark.parametrize(
    "carrier_client",
    ["vca_12345678", "vca_test_433_gw0", "+44•••8750", "2030-01-01T00:00:00+00:00"],
)
def test_what_a_log_may_hold_is_not(carrier_client: str) -> None:
    assert pii_sentinel.first_leaking_line(carrier_client) is None


def test_a_line_is_looked_at_as_it_is_logged(
    app: Flask, leaked_log_lines: Callable[[], list[str]]
) -> None:
    log.get_logger().info("harmless")
    log.get_logger().info("careless", said=SAID.lower())

    assert ["careless" in line for line in leaked_log_lines()] == [True]


@pytest.mark.parametrize("said", [SAID, CALLER])
def test_no_job_can_be_enqueued_that_names_a_person(acme: Tenant, said: str) -> None:
    with (
        pytest.raises(IntegrityError, match="no_canary_check"),
        tenant_session(acme.ref) as session,
    ):
        queue.enqueue(session, "messages.mail", to=said)


def test_a_metric_that_names_a_person_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pii_sentinel.prometheus, "exposition", lambda: f'x{{who="{SAID}"}} 1'.encode()
    )

    with pytest.raises(AssertionError):
        pii_sentinel.check_metrics()
