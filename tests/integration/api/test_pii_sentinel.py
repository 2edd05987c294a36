"""The checks of the test suite find personal data and secrets in logs, jobs and metrics."""

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy.exc import IntegrityError

from tests.support import pii_sentinel
from tests.support.carrier_client import CALLER
from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.jobs import queue
from vca.observability import log, prometheus
from vca.tenancy.session import tenant_session

SENSITIVE_TEXT = f"I am {pii_sentinel.SENTINEL}, please call me."


@pytest.mark.parametrize(
    "value",
    [SENSITIVE_TEXT, CALLER, CALLER[1:], "+442071838750", "whsec_c2VjcmV0", "vca_12345678_more"],
)
def test_the_check_of_logs_finds_forbidden_data(value: str) -> None:
    leaking_line = f'{{"said": "{value}"}}'

    assert pii_sentinel.first_leaking_line(f'{{"ok": 1}}\n{leaking_line}\n{{}}') == leaking_line


@pytest.mark.parametrize(
    "value",
    ["vca_12345678", "vca_test_433_gw0", "+44•••8750", "2030-01-01T00:00:00+00:00"],
)
def test_the_check_of_logs_accepts_prefixes_masked_numbers_and_times(value: str) -> None:
    assert pii_sentinel.first_leaking_line(value) is None


def test_every_logged_line_is_checked(
    app: Flask, leaked_log_lines: Callable[[], list[str]]
) -> None:
    log.get_logger().info("harmless")
    log.get_logger().info("careless", said=SENSITIVE_TEXT.lower())

    assert ["careless" in line for line in leaked_log_lines()] == [True]


@pytest.mark.parametrize("value", [SENSITIVE_TEXT, CALLER])
def test_enqueueing_a_job_with_personal_data_raises_integrity_error(
    acme: Tenant, value: str
) -> None:
    with (
        pytest.raises(IntegrityError, match="no_canary_check"),
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        queue.enqueue(session, "messages.mail", to=value)


def test_the_check_of_metrics_finds_personal_data(monkeypatch: pytest.MonkeyPatch) -> None:
    exposition = f'x{{who="{SENSITIVE_TEXT}"}} 1'.encode()
    monkeypatch.setattr(prometheus, "exposition", lambda: exposition)

    with pytest.raises(AssertionError):
        pii_sentinel.check_metrics()
