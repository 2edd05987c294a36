"""A gunicorn with two processes, and two tenants whose requests it serves."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from flask import Flask

from tests.support import rate_limits
from tests.support.factories import Tenant
from tests.support.processes import HttpResponse, WebServer, process_environment, run_gunicorn
from vca.settings import Settings
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

RingNumber = Callable[[], HttpResponse]


@pytest.fixture
def silent_model() -> Iterator[str]:
    """Return the URL of a model server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


@pytest.fixture
def environment(settings: Settings, silent_model: str) -> dict[str, str]:
    """Return the settings of the processes. Keys that tests create are valid for them."""
    return process_environment(
        settings,
        LLM_BASE_URL=silent_model,
        LLM_API_KEY="key",
        LLM_MODEL="silent",
        **rate_limits.HIGH_RATE_LIMITS,
    )


@pytest.fixture
def web(app: Flask, environment: dict[str, str], tmp_path: Path) -> Iterator[WebServer]:
    with run_gunicorn(environment, tmp_path / "log") as web:
        yield web
        assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.fixture
def ring_globex(web: WebServer, globex: Tenant, settings: Settings) -> RingNumber:
    """Return a function with which a carrier calls globex's number, and returns the response."""
    globex.profile(greeting="Globex.")
    number = globex.number()["did_number"]
    carrier = FakeTelephonyAdapter(f"fake-carrier|{settings.secret_key}")

    def ring() -> HttpResponse:
        fields = {"call_id": uuid4().hex, "to": number, "from": "+14155550100"}
        request = carrier.signed_request("voice", "/telephony/fake/", **fields)
        return web.request("POST", request.url, fields, extra_headers=request.headers, timeout_s=5)

    return ring
