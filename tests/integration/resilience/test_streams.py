"""A simulation's words over a real gunicorn, from a model that takes its time."""

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

FIRST, LAST = "We are open until six today.", "Shall I write you down for half past four?"


@pytest.fixture(scope="module")
def model() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture(scope="module")
def _asking(
    environment: dict[str, str], model: OpenAIServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    asking = {"LLM_BASE_URL": model.url, "LLM_API_KEY": "a-key", "LLM_MODEL": "slow"}
    with run_gunicorn(environment | asking, tmp_path_factory.mktemp("asking") / "log") as web:
        yield web


@pytest.fixture
def web(_asking: WebServer, db_proxy: TcpProxy) -> WebServer:
    """A server whose model is ours."""
    return _asking


def _pausing(go_on: Event) -> Any:
    """Says the first sentence, and the last one when it may go on."""

    def behave(handler: Any) -> None:
        handler.begin_response()
        handler.send_texts(f"{FIRST} ", "Shall ")
        go_on.wait(30)
        handler.send_texts(LAST.removeprefix("Shall "))
        handler.finish_stream()

    return behave


@contextmanager
def _speaking(web: WebServer, tenant: Tenant, call: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    headers = {
        "Accept": "text/event-stream",
        "Authorization": f"Bearer {tenant.key}",
        "Content-Type": "application/json",
    }
    body = json.dumps({"text": "When do you close?"})
    connection.request("POST", tenant.url(f"/simulations/{call}/turns"), body, headers)
    response = connection.getresponse()
    yield response
    response.close()
    connection.close()


def _event(response: http.client.HTTPResponse) -> tuple[str, Any]:
    name, data, _ = (response.readline().decode().rstrip("\n") for _ in range(3))
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def _call(tenant: Tenant) -> str:
    tenant.profile(greeting="Acme.")
    call: str = tenant.simulate(tenant.number()["did_number"])["call_id"]
    return call


def _texts(tenant: Tenant, call: str) -> list[str]:
    return [turn["text"] for turn in tenant.get(f"/calls/{call}/turns").json]


def test_the_first_words_are_there_before_the_model_has_the_last(
    web: WebServer, acme: Tenant, model: OpenAIServer
) -> None:
    call, go_on = _call(acme), Event()
    model.set_behaviours(_pausing(go_on))

    with _speaking(web, acme, call) as response:
        first = _event(response)
        go_on.set()
        last, reply = _event(response), _event(response)
        rest = response.read()

    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["X-Accel-Buffering"] == "no"
    assert (first, last) == (("clause", {"text": FIRST}), ("clause", {"text": LAST}))
    assert reply[0] == "reply"
    assert (reply[1]["reply"], reply[1]["status"]) == (f"{FIRST} {LAST}", "in_progress")
    assert rest == b""


def test_a_client_that_goes_away_leaves_what_was_said_and_its_place(
    web: WebServer, acme: Tenant, model: OpenAIServer
) -> None:
    call, go_on = _call(acme), Event()
    model.set_behaviours(_pausing(go_on))

    for _ in range(10):  # more than both processes stream at once
        with _speaking(web, acme, call) as response:
            assert _event(response)[0] == "clause"
        go_on.set()

    wait_until(lambda: len(_texts(acme, call)) == 21)
    # A caller may speak again before the server has noticed that nobody listened.
    assert sum(text.startswith(FIRST) for text in _texts(acme, call)) == 10
