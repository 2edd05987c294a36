"""The requests of the OpenAI client, its connections and its settings."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest

from tests.contract.conversation.llm.openai.conftest import (
    KEY,
    connected_model,
    request_failure,
    request_text,
)
from tests.contract.suites.llm import PROFILE_WITH_TOOLS, ModelContract, make_request, read_text
from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import OpenAIServer, openai_server
from vca.conversation import tools
from vca.conversation.llm import ModelClient, create_client
from vca.conversation.llm.openai import OpenAIModel
from vca.conversation.llm.transport import KEEPALIVE_S
from vca.conversation.types import Profile


class TestContract(ModelContract):
    secret = KEY

    @pytest.fixture
    def server(self) -> Iterator[OpenAIServer]:
        with openai_server() as server:
            server.set_behaviours(openai_behaviours.ok_then_close)
            yield server

    @pytest.fixture
    def model(self, server: OpenAIServer) -> Iterator[ModelClient]:
        self.model_server = server
        yield from connected_model(server, timeout_s=5.0)

    def assert_released(self, model: ModelClient) -> None:
        assert self.model_server.wait_all_closed()


def test_a_request_is_answered_although_the_server_closes_all_idle_connections(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    answered_connections: list[object] = []

    def answer_once(handler: Any) -> None:
        handler.close_connection = handler.connection in answered_connections
        if not handler.close_connection:
            answered_connections.append(handler.connection)
            openai_behaviours.ok(handler)

    server.set_behaviours(answer_once)
    streams = [model.stream(make_request("Hello?")) for _ in range(3)]
    for stream in streams:
        next(stream)  # so that each needs a connection of its own
    for stream in streams:
        read_text(stream)

    text = read_text(model.stream(make_request("Hello?")))

    assert text == openai_behaviours.TEXT
    assert server.accepted_count == 4


def test_the_connections_of_a_peak_are_closed_once_they_are_old(
    server: OpenAIServer, model: OpenAIModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, now = "vca.kit.http.pool.monotonic", monotonic()
    streams = [model.stream(make_request("Hello?")) for _ in range(3)]
    for stream in streams:
        next(stream)  # so that each needs a connection of its own
    monkeypatch.setattr(clock, lambda: now - 2 * KEEPALIVE_S)
    for stream in streams[:2]:
        read_text(stream)
    monkeypatch.setattr(clock, lambda: now)

    read_text(streams[2])

    assert server.accepted_count == 3
    assert server.wait_all_closed(count=1)


def test_the_request_is_a_streaming_chat_completion(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    request = make_request("Hello, who calls?", "It is me.", system="Be kind.")

    assert read_text(model.stream(request)) == openai_behaviours.TEXT

    (sent_request,) = server.requests
    assert sent_request.path == "/v1/chat/completions"
    assert sent_request.headers["authorization"] == f"Bearer {KEY}"
    assert sent_request.body == {
        "model": "gpt-test",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "(The call is connected.)"},
            {"role": "assistant", "content": "Hello, who calls?"},
            {"role": "user", "content": "It is me."},
        ],
    }


def test_the_model_is_from_the_request_and_the_temperature_from_the_profile(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    profile = Profile("Ada", "sales", "Sell.", model="not-asked-for", temperature=0.0)

    list(model.stream(replace(make_request("Hello?", profile=profile), model="gpt-other")))

    assert server.requests[0].body["model"] == "gpt-other"
    assert server.requests[0].body["temperature"] == 0.0


def test_a_lone_surrogate_is_sent_as_a_question_mark(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    assert read_text(model.stream(make_request("Hello \ud83d", system="\udfff")))

    assert [message["content"] for message in server.requests[0].body["messages"]] == [
        "?",
        "Hello ?",
    ]


def test_the_turns_of_a_call_share_one_connection(server: OpenAIServer, model: OpenAIModel) -> None:
    for _ in range(5):
        request_text(model)

    assert len(server.requests) == 5
    assert server.accepted_count == 1


def test_a_closed_keep_alive_connection_does_not_fail_a_turn(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(
        openai_behaviours.ok, openai_behaviours.reset_at_once, openai_behaviours.ok
    )

    assert [request_text(model), request_text(model)] == [openai_behaviours.TEXT] * 2
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 422])
def test_a_rejected_request_is_repeated_without_the_usage_option(
    server: OpenAIServer, model: OpenAIModel, status: int
) -> None:
    server.set_behaviours(openai_behaviours.error_response(status))

    error = request_failure(model)

    assert (error.failure, error.permanent) == ("refused", True)
    assert ["stream_options" in request.body for request in server.requests] == [True, False]


def test_the_usage_option_is_omitted_after_an_endpoint_rejected_it(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(openai_behaviours.reject_parameter("stream_options"))

    assert [request_text(model), request_text(model)] == [openai_behaviours.TEXT] * 2
    assert ["stream_options" in request.body for request in server.requests] == [True, False, False]


def test_tools_are_sent_as_functions(server: OpenAIServer, model: OpenAIModel) -> None:
    list(
        model.stream(
            replace(
                make_request("Hello?", profile=PROFILE_WITH_TOOLS),
                tools=tools.available_tools(PROFILE_WITH_TOOLS),
            )
        )
    )

    functions = [tool["function"] for tool in server.requests[0].body["tools"]]
    assert [tool["name"] for tool in functions] == list(tools.TOOLS)
    assert functions[1]["parameters"]["properties"]["target"]["enum"] == ["sales"]
    assert "tool_choice" not in server.requests[0].body


def test_closing_the_stream_closes_the_connection(server: OpenAIServer, model: OpenAIModel) -> None:
    server.set_behaviours(openai_behaviours.endless_events)

    with closing(model.stream(make_request("Tell me everything."))) as chunks:
        next(chunks)

    assert server.wait_all_closed()


def test_environment_variables_of_the_sdk_are_ignored(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-other")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-other")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-other")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-other\nx-other: other")
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:1")
    model = OpenAIModel(base_url=server.url, api_key=KEY, model="gpt-test", timeout_s=5.0)

    assert request_text(model) == openai_behaviours.TEXT

    (sent_request,) = server.requests
    assert sent_request.headers["authorization"] == f"Bearer {KEY}"
    assert "other" not in str(sent_request.headers)
    assert "openai" not in str(sent_request.headers).lower()
    model.close()


def test_neither_the_key_nor_the_conversation_is_logged(
    server: OpenAIServer, model: OpenAIModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    list(model.stream(make_request("My card number is 4711.", system="Secret sauce.")))

    assert caplog.text == ""


@pytest.mark.parametrize(
    "invalid_settings",
    [
        {"base_url": "ftp://example.com"},
        {"base_url": "example.com/v1"},
        {"base_url": "https://"},
        {"api_key": "two\nlines"},
        {"api_key": "schlüssel"},
        {"api_key": "a b"},
    ],
)
def test_invalid_settings_are_rejected(invalid_settings: dict[str, Any]) -> None:
    valid_settings: dict[str, Any] = {
        "base_url": "https://example.com/v1",
        "api_key": KEY,
        "model": "gpt-test",
    }

    with pytest.raises(ValueError) as error_info:
        create_client(**{**valid_settings, **invalid_settings})

    assert "schlüssel" not in str(error_info.value)


def test_creating_a_client_does_not_import_the_sdk() -> None:
    code = (
        "import sys; from vca.conversation.llm import create_client;"
        "create_client(base_url='https://example.com/v1', api_key='k', model='m').close();"
        "sys.exit('openai' in sys.modules or 'httpx2' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
