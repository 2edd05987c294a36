"""The OpenAI client against a real server on loopback that responds correctly, fails or hangs."""

import logging
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from threading import Timer
from time import monotonic
from typing import Any

import pytest

from tests.contract.suites.llm import (
    PROFILE_WITH_TOOLS,
    ModelContract,
    make_request,
    read_stream,
    read_text,
)
from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import OpenAIServer, openai_server
from vca.conversation import tools
from vca.conversation.llm import (
    MAX_ARGUMENTS_CHARS,
    ModelClient,
    ModelError,
    ModelFailure,
    ToolCall,
    cancellation,
    create_client,
)
from vca.conversation.llm.cancellation import CancelToken
from vca.conversation.llm.openai import OpenAIModel
from vca.conversation.types import Profile, Tokens
from vca.kit import deadline

KEY = "sk-secret-4711"
# A key that has the shape of an error code.
LOWER_CASE_KEY = "abcdef0123456789abcdef"
MAX_ELAPSED_S = 5.0


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture
def model(server: OpenAIServer) -> Iterator[OpenAIModel]:
    yield from connected_model(server, timeout_s=5.0)


@pytest.fixture
def short_timeout_model(server: OpenAIServer) -> Iterator[OpenAIModel]:
    """Return a client with a timeout of half a second."""
    yield from connected_model(server, timeout_s=0.5)


def connected_model(server: OpenAIServer, *, timeout_s: float) -> Iterator[OpenAIModel]:
    model = OpenAIModel(base_url=server.url, api_key=KEY, model="gpt-test", timeout_s=timeout_s)
    # The import of the SDK must not count towards the time of a response.
    model.warm_up()
    yield model
    model.close()


def request_text(model: ModelClient) -> str:
    return read_text(model.stream(make_request("Hello?")))


def request_failure(model: ModelClient) -> ModelError:
    with pytest.raises(ModelError) as error_info:
        request_text(model)
    return error_info.value


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


def test_chunks_are_returned_as_the_server_sends_them(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(openai_behaviours.hang_after_chunk)

    with closing(model.stream(make_request("Hello?"))) as chunks:
        assert next(chunks) == "One moment."


def test_a_slow_first_token_within_the_deadline_is_received(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(openai_behaviours.slow_first_token)

    assert request_text(model) == "At last."


def test_the_turns_of_a_call_share_one_connection(server: OpenAIServer, model: OpenAIModel) -> None:
    for _ in range(5):
        request_text(model)

    assert len(server.requests) == 5
    assert server.accepted_count == 1


def test_the_answer_ends_at_done_though_the_response_does_not(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(openai_behaviours.hang_after_done)
    started_at = monotonic()

    assert request_text(model) == "Done."

    assert monotonic() - started_at < 4


def test_a_closed_keep_alive_connection_does_not_fail_a_turn(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(
        openai_behaviours.ok, openai_behaviours.reset_at_once, openai_behaviours.ok
    )

    assert [request_text(model), request_text(model)] == [openai_behaviours.TEXT] * 2
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "behaviour",
    [
        openai_behaviours.hang,
        openai_behaviours.hang_after_chunk,
        openai_behaviours.drip_headers,
        openai_behaviours.drip_body,
        openai_behaviours.drip_events,
        openai_behaviours.drip_an_error,
    ],
)
def test_every_slow_response_ends_at_the_deadline(
    server: OpenAIServer, short_timeout_model: OpenAIModel, behaviour: Any
) -> None:
    server.set_behaviours(behaviour)
    started_at = monotonic()

    error = request_failure(short_timeout_model)

    assert 0.4 < monotonic() - started_at < MAX_ELAPSED_S
    assert error.failure == "timeout"
    assert not error.permanent
    assert len(server.requests) == 1


def test_the_deadline_of_the_request_limits_the_response(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(openai_behaviours.hang)
    started_at = monotonic()

    with deadline.within(0.3):
        error = request_failure(model)

    assert error.failure == "timeout"
    assert monotonic() - started_at < 3


def test_an_expired_deadline_is_a_timeout_at_once(server: OpenAIServer, model: OpenAIModel) -> None:
    server.set_behaviours(openai_behaviours.hang)

    with deadline.within(0):
        assert request_failure(model).failure == "timeout"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:1/v1", "connection_refused"),
        ("http://models.invalid/v1", "name_not_resolved"),
    ],
)
def test_the_reason_of_a_failed_connection_is_logged(url: str, code: str) -> None:
    model = OpenAIModel(base_url=url, api_key=KEY, model="m")

    error = request_failure(model)

    model.close()
    assert error.log_fields == {"failure": "unavailable", "server_code": code}


@pytest.mark.parametrize(
    ("error_body", "fields"),
    [
        ({"code": "invalid_api_key"}, {"server_code": "invalid_api_key"}),
        ({"code": "", "type": "auth_error"}, {"server_code": "auth_error"}),
        ({"code": f"key {KEY} is unknown"}, {}),
        ({"code": LOWER_CASE_KEY}, {}),
        ({"code": LOWER_CASE_KEY[:10]}, {}),
        ({"code": f"no_{LOWER_CASE_KEY}"}, {}),
    ],
)
def test_status_and_code_of_a_rejection_are_logged_without_the_key(
    server: OpenAIServer, error_body: dict[str, str], fields: dict[str, str]
) -> None:
    model = OpenAIModel(base_url=server.url, api_key=LOWER_CASE_KEY, model="m")
    server.set_behaviours(openai_behaviours.error_response(401, error_body))

    error = request_failure(model)

    model.close()
    assert error.log_fields == {"failure": "refused", "server_status": 401, **fields}


ERROR_RESPONSES: list[tuple[Any, ModelFailure, bool]] = [
    (openai_behaviours.error_response(401, {"code": "invalid_api_key"}), "refused", True),
    (openai_behaviours.error_response(401, {"code": f"key {KEY} is unknown"}), "refused", True),
    (openai_behaviours.error_response(403), "refused", True),
    (openai_behaviours.error_response(404, {"code": "model_not_found"}), "refused", True),
    (openai_behaviours.error_response(302, location="http://127.0.0.1:1/"), "refused", True),
    (openai_behaviours.error_response(408), "timeout", False),
    (openai_behaviours.error_response(409), "unavailable", False),
    (openai_behaviours.error_response(429, retry_after="30"), "rate_limited", False),
    (openai_behaviours.error_response(429, {"code": "insufficient_quota"}), "rate_limited", True),
    (openai_behaviours.error_response(500), "unavailable", False),
    (openai_behaviours.error_response(503, retry_after="30"), "unavailable", False),
    (openai_behaviours.error_response(504), "timeout", False),
]


@pytest.mark.parametrize(("behaviour", "failure", "permanent"), ERROR_RESPONSES)
def test_an_error_response_is_classified_not_retried_and_hides_the_key(
    server: OpenAIServer, model: OpenAIModel, behaviour: Any, failure: ModelFailure, permanent: bool
) -> None:
    server.set_behaviours(behaviour)

    error = request_failure(model)

    assert (error.failure, error.permanent) == (failure, permanent)
    assert len(server.requests) == 1
    assert KEY not in "".join(traceback.format_exception(error))
    assert KEY not in repr(error)


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


def test_a_rejection_after_reported_usage_is_not_retried(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(openai_behaviours.ok, openai_behaviours.error_response(400))
    request_text(model)

    assert request_failure(model).failure == "refused"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("usage_event", "tokens"),
    [
        (openai_behaviours.usage_event(120, 9), Tokens(120, 9)),
        (openai_behaviours.usage_event(-1, 9), None),
        (openai_behaviours.usage_event("many", 9), None),
        (openai_behaviours.usage_event(10**12, 9), None),
        (openai_behaviours.usage_event(None, None), None),
    ],
)
def test_reported_tokens_are_returned_if_they_are_plausible(
    server: OpenAIServer, model: OpenAIModel, usage_event: dict[str, Any], tokens: Tokens | None
) -> None:
    server.set_behaviours(openai_behaviours.stream_events(HELLO, usage_event))

    assert read_stream(model.stream(make_request("Hello?"))) == (["Hello."], tokens)


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


END_CALL = ToolCall("end_call", "{}")
TRANSFER_TO_SALES = ToolCall("transfer", '{"target": "sales"}')
ARGUMENT_PARTS = ('{"tar', 'get": "sa', 'les"}')
TOOL_CALL_STREAMS: list[tuple[list[Any], list[ToolCall]]] = [
    (openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS), [TRANSFER_TO_SALES]),
    (openai_behaviours.tool_deltas("end_call"), [ToolCall("end_call", "")]),
    (openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS, index=None), [TRANSFER_TO_SALES]),
    (openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS, call_id=None), [TRANSFER_TO_SALES]),
    (
        [
            *openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS),
            *openai_behaviours.tool_deltas("end_call", "{}", index=1, call_id="call_2"),
        ],
        [TRANSFER_TO_SALES, END_CALL],
    ),
    (  # alternating parts of two calls
        [
            event
            for pair in zip(
                openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS),
                openai_behaviours.tool_deltas("end_call", "{", "}", "", index=1, call_id="call_2"),
                strict=True,
            )
            for event in pair
        ],
        [TRANSFER_TO_SALES, END_CALL],
    ),
    (  # all with index 0, distinguished by their ids
        [
            *openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS),
            *openai_behaviours.tool_deltas("end_call", "{}", call_id="call_2"),
        ],
        [TRANSFER_TO_SALES, END_CALL],
    ),
    (
        openai_behaviours.tool_deltas("end_call", *["x" * 10_000] * 50),
        [ToolCall("end_call", "x" * MAX_ARGUMENTS_CHARS)],
    ),
    (openai_behaviours.tool_deltas("x" * 10_000, "{}"), [ToolCall("x" * 100, "{}")]),
    (
        [
            event
            for number in range(500)
            for event in openai_behaviours.tool_deltas("end_call", "{}", index=number)
        ],
        [END_CALL] * 32,
    ),
]


@pytest.mark.parametrize(("events", "calls"), TOOL_CALL_STREAMS)
def test_tool_calls_are_assembled_from_their_parts(
    server: OpenAIServer, model: OpenAIModel, events: list[Any], calls: list[ToolCall]
) -> None:
    server.set_behaviours(openai_behaviours.stream_events(HELLO, *events))

    chunks, _ = read_stream(model.stream(make_request("Hello?")))

    assert chunks == ["Hello.", *calls]


def test_an_answer_may_contain_only_tool_calls(server: OpenAIServer, model: OpenAIModel) -> None:
    server.set_behaviours(
        openai_behaviours.stream_events(*openai_behaviours.tool_deltas("end_call", "{}"))
    )

    assert read_stream(model.stream(make_request("Hello?"))) == ([END_CALL], None)


def test_a_tool_call_that_was_cut_off_is_not_returned(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    def cut_off(handler: Any) -> None:
        handler.begin_response()
        for event in openai_behaviours.tool_deltas("end_call", "{}"):
            handler.send_event(event)
        handler.close_connection = True

    server.set_behaviours(cut_off)
    chunks: list[Any] = []

    with pytest.raises(ModelError):
        chunks += model.stream(make_request("Hello?"))

    assert chunks == []


def test_another_thread_can_cancel_a_request_to_a_hanging_server(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(openai_behaviours.hang_after_chunk)
    cancel_token = CancelToken()
    chunks = model.stream(make_request("Hello?"))
    started_at = monotonic()

    with cancellation.cancel_scope(cancel_token):
        next(chunks)
        Timer(0.05, cancel_token.cancel).start()
        with pytest.raises(ModelError) as error_info:
            next(chunks)

    assert error_info.value.failure == "timeout"
    assert len(server.requests) == 1
    assert monotonic() - started_at < 4


def test_a_cancelled_request_is_not_sent(server: OpenAIServer, model: OpenAIModel) -> None:
    cancel_token = CancelToken()
    cancel_token.cancel()

    with cancellation.cancel_scope(cancel_token):
        assert request_failure(model).failure == "timeout"

    assert server.requests == []


HELLO = openai_behaviours.delta(content="Hello.")
CONTENT_FILTER = openai_behaviours.delta(finish_reason="content_filter")
INVALID_RESPONSES: list[tuple[Any, ModelFailure]] = [
    (openai_behaviours.reset_in_the_middle, "unavailable"),
    (openai_behaviours.cut_in_the_middle, "unavailable"),
    (openai_behaviours.reset_at_once, "unavailable"),
    (openai_behaviours.not_http, "unavailable"),
    (openai_behaviours.endless_line, "bad_answer"),
    (openai_behaviours.endless_events, "bad_answer"),
    (openai_behaviours.endless_error, "bad_answer"),
    (openai_behaviours.html_page, "bad_answer"),
    (openai_behaviours.stream_events(), "bad_answer"),
    (openai_behaviours.stream_events(openai_behaviours.delta(content=" ")), "bad_answer"),
    (openai_behaviours.stream_events("{not json"), "bad_answer"),
    (openai_behaviours.stream_events("[" * 100_000), "bad_answer"),
    (openai_behaviours.stream_events([]), "bad_answer"),
    (openai_behaviours.stream_events("5"), "bad_answer"),
    (openai_behaviours.stream_events('"text"'), "bad_answer"),
    (openai_behaviours.stream_events("null"), "bad_answer"),
    (openai_behaviours.stream_events({"choices": 5}), "bad_answer"),
    (openai_behaviours.stream_events({"choices": [5]}), "bad_answer"),
    (openai_behaviours.stream_events({"choices": {"a": 1}}), "bad_answer"),
    (openai_behaviours.stream_events(HELLO, {"usage": 5}), "bad_answer"),
    (openai_behaviours.stream_events(HELLO, {"choices": [{}]}), "bad_answer"),
    (openai_behaviours.stream_events({"choices": [{"delta": None}]}), "bad_answer"),
    (openai_behaviours.stream_events({"choices": [{"delta": {"content": 5}}]}), "bad_answer"),
    (openai_behaviours.stream_events({"choices": [{"delta": {"tool_calls": 5}}]}), "bad_answer"),
    (openai_behaviours.stream_events({"choices": [{"delta": {"tool_calls": [5]}}]}), "bad_answer"),
    (
        openai_behaviours.stream_events(openai_behaviours.delta(tool_calls=[{"index": [1]}])),
        "bad_answer",
    ),
    (
        openai_behaviours.stream_events(
            openai_behaviours.delta(tool_calls=[{"index": 0, "function": 5}])
        ),
        "bad_answer",
    ),
    (
        openai_behaviours.stream_events(
            HELLO, openai_behaviours.delta(tool_calls=[{"function": {"name": 5}}])
        ),
        "bad_answer",
    ),
    (
        openai_behaviours.stream_events(
            openai_behaviours.delta(tool_calls=[{"index": 0, "function": {"arguments": {"a": 1}}}])
        ),
        "bad_answer",
    ),
    (openai_behaviours.stream_events({"choices": [{"delta": {"content": ["a"]}}]}), "bad_answer"),
    (
        openai_behaviours.stream_events(HELLO, {"choices": [{"delta": {"content": 5}}]}),
        "bad_answer",
    ),
    (openai_behaviours.stream_events({"error": {"message": f"no {KEY}"}}), "unavailable"),
    (openai_behaviours.stream_events({"error": {"code": "rate_limit_exceeded"}}), "rate_limited"),
    (openai_behaviours.stream_events({"error": {"code": ["odd"], "type": 5}}), "unavailable"),
    (openai_behaviours.stream_events({"error": f"no {KEY}"}), "unavailable"),
    (openai_behaviours.stream_events(CONTENT_FILTER), "refused"),
]


@pytest.mark.parametrize(("behaviour", "failure"), INVALID_RESPONSES)
def test_an_invalid_response_is_a_model_error_and_leaves_no_connection(
    server: OpenAIServer, model: OpenAIModel, behaviour: Any, failure: ModelFailure
) -> None:
    server.set_behaviours(behaviour)

    error = request_failure(model)

    assert error.failure == failure
    assert KEY not in "".join(traceback.format_exception(error))
    model.close()
    assert server.wait_all_closed()


def test_a_refusal_of_the_model_is_returned_as_its_answer(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(
        openai_behaviours.stream_events(openai_behaviours.delta(refusal="I cannot help with that."))
    )

    assert request_text(model) == "I cannot help with that."


def test_a_server_that_does_not_listen_is_unavailable(server: OpenAIServer) -> None:
    server.server_close()
    model = OpenAIModel(base_url=server.url, api_key=KEY, model="gpt-test", timeout_s=5.0)

    assert request_failure(model).failure == "unavailable"

    model.close()


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
