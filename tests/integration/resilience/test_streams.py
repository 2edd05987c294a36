"""Streamed answers of simulated calls over a real gunicorn, from a slow model."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from tests.fakes.openai_server import OpenAIServer, openai_server
from tests.support.factories import Tenant
from tests.support.processes import WebServer, run_gunicorn, wait_until
from tests.support.tcp_proxy import TcpProxy
from vca.kit import json

FIRST_CHUNK, LAST_CHUNK = (
    "We are open until six today.",
    "Shall I write you down for half past four?",
)


@pytest.fixture(scope="module")
def model() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture(scope="module")
def _web_with_model(
    environment: dict[str, str], model: OpenAIServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    model_settings = {"LLM_BASE_URL": model.url, "LLM_API_KEY": "a-key", "LLM_MODEL": "slow"}
    output = tmp_path_factory.mktemp("web_with_model") / "log"
    with run_gunicorn(environment | model_settings, output) as web:
        yield web


@pytest.fixture
def web(_web_with_model: WebServer, db_proxy: TcpProxy) -> WebServer:
    """Return a web server that sends requests to `model`."""
    return _web_with_model


def _pause_until(resume: Event) -> Any:
    """Return a behaviour that sends the first chunk, and the last one after the event is set."""

    def behave(handler: Any) -> None:
        handler.begin_response()
        handler.send_texts(f"{FIRST_CHUNK} ", "Shall ")
        resume.wait(30)
        handler.send_texts(LAST_CHUNK.removeprefix("Shall "))
        handler.finish_stream()

    return behave


@contextmanager
def _send_utterance(
    web: WebServer, tenant: Tenant, call_id: str
) -> Iterator[http.client.HTTPResponse]:
    """Send one utterance of a simulated call; yield the open response."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    headers = {
        "Accept": "text/event-stream",
        "Authorization": f"Bearer {tenant.key}",
        "Content-Type": "application/json",
    }
    body = json.dumps({"text": "When do you close?"})
    connection.request("POST", tenant.url(f"/simulations/{call_id}/turns"), body, headers)
    response = connection.getresponse()
    yield response
    response.close()
    connection.close()


def _read_event(response: http.client.HTTPResponse) -> tuple[str, Any]:
    name, data, _ = (response.readline().decode().rstrip("\n") for _ in range(3))
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def _start_call(tenant: Tenant) -> str:
    """Start a simulated call and return its id."""
    tenant.profile(greeting="Acme.")
    call_id: str = tenant.simulate(tenant.number()["did_number"])["call_id"]
    return call_id


def _list_texts(tenant: Tenant, call_id: str) -> list[str]:
    return [turn["text"] for turn in tenant.get(f"/calls/{call_id}/turns").json]


def test_the_first_chunk_is_sent_before_the_model_sends_the_last(
    web: WebServer, acme: Tenant, model: OpenAIServer
) -> None:
    call_id, resume = _start_call(acme), Event()
    model.set_behaviours(_pause_until(resume))

    with _send_utterance(web, acme, call_id) as response:
        first = _read_event(response)
        resume.set()
        last, reply = _read_event(response), _read_event(response)
        remaining = response.read()

    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["X-Accel-Buffering"] == "no"
    assert (first, last) == (
        ("clause", {"text": FIRST_CHUNK}),
        ("clause", {"text": LAST_CHUNK}),
    )
    assert reply[0] == "reply"
    assert (reply[1]["reply"], reply[1]["status"]) == (f"{FIRST_CHUNK} {LAST_CHUNK}", "in_progress")
    assert remaining == b""


def test_a_disconnect_stores_the_sent_chunk_and_frees_the_stream(
    web: WebServer, acme: Tenant, model: OpenAIServer
) -> None:
    call_id, resume = _start_call(acme), Event()
    model.set_behaviours(_pause_until(resume))

    for _ in range(10):  # more than both processes may stream concurrently
        with _send_utterance(web, acme, call_id) as response:
            assert _read_event(response)[0] == "clause"
        resume.set()

    wait_until(lambda: len(_list_texts(acme, call_id)) == 21)
    # The next utterance may arrive before the server notices that the client disconnected.
    assert sum(text.startswith(FIRST_CHUNK) for text in _list_texts(acme, call_id)) == 10
