"""The OpenAI client against a real server on loopback, in good times and bad."""

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
from tests.fakes import openai_server as server_side
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
LOOSE_S = 5.0


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture
def model(server: OpenAIServer) -> Iterator[OpenAIModel]:
    yield from made(server, timeout_s=5.0)


@pytest.fixture
def hurried_model(server: OpenAIServer) -> Iterator[OpenAIModel]:
    """A client whose answers have half a second."""
    yield from made(server, timeout_s=0.5)


def made(server: OpenAIServer, *, timeout_s: float) -> Iterator[OpenAIModel]:
    model = OpenAIModel(base_url=server.url, api_key=KEY, model="gpt-test", timeout_s=timeout_s)
    # The SDK's import is not part of any answer's time here.
    model.warm_up()
    yield model
    model.close()


def answer(model: ModelClient) -> str:
    return read_text(model.stream(make_request("Hello?")))


def failure_of(model: ModelClient) -> ModelError:
    with pytest.raises(ModelError) as caught:
        answer(model)
    return caught.value


class TestContract(ModelContract):
    secret = KEY

    @pytest.fixture
    def server(self) -> Iterator[OpenAIServer]:
        with openai_server() as server:
            server.set_behaviours(server_side.ok_then_close)
            yield server

    @pytest.fixture
    def model(self, server: OpenAIServer) -> Iterator[ModelClient]:
        self.server = server
        yield from made(server, timeout_s=5.0)

    def assert_released(self, model: ModelClient) -> None:
        assert self.server.wait_all_closed()


def test_the_request_is_a_streaming_chat_completion(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    request = make_request("Hello, who calls?", "It is me.", system="Be kind.")

    assert read_text(model.stream(request)) == server_side.TEXT

    (asked,) = server.requests
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
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


def test_a_request_chooses_the_model_and_its_profile_the_temperature(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    profile = Profile("Ada", "sales", "Sell.", model="not-asked-for", temperature=0.0)

    list(model.stream(replace(make_request("Hello?", profile=profile), model="gpt-other")))

    assert server.requests[0].body["model"] == "gpt-other"
    assert server.requests[0].body["temperature"] == 0.0


def test_half_a_character_is_sent_as_a_question_mark(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    assert read_text(model.stream(make_request("Hello \ud83d", system="\udfff")))

    assert [message["content"] for message in server.requests[0].body["messages"]] == [
        "?",
        "Hello ?",
    ]


def test_pieces_come_as_the_server_sends_them(server: OpenAIServer, model: OpenAIModel) -> None:
    server.set_behaviours(server_side.hang_after_chunk)

    with closing(model.stream(make_request("Hello?"))) as pieces:
        assert next(pieces) == "One moment."


def test_a_slow_first_token_within_the_deadline_is_waited_for(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(server_side.slow_first_token)

    assert answer(model) == "At last."


def test_the_turns_of_a_call_share_one_connection(server: OpenAIServer, model: OpenAIModel) -> None:
    for _ in range(5):
        answer(model)

    assert len(server.requests) == 5
    assert server.accepted_count == 1


def test_a_server_that_does_not_end_after_done_is_not_waited_for(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(server_side.hang_after_done)
    began = monotonic()

    assert answer(model) == "Done."

    assert monotonic() - began < 4


def test_a_kept_connection_that_was_closed_meanwhile_fails_no_turn(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(server_side.ok, server_side.reset_at_once, server_side.ok)

    assert [answer(model), answer(model)] == [server_side.TEXT] * 2
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "behaviour",
    [
        server_side.hang,
        server_side.hang_after_chunk,
        server_side.drip_headers,
        server_side.drip_body,
        server_side.drip_events,
        server_side.drip_an_error,
    ],
)
def test_no_server_holds_a_call_beyond_the_deadline(
    server: OpenAIServer, hurried_model: OpenAIModel, behaviour: Any
) -> None:
    server.set_behaviours(behaviour)
    began = monotonic()

    error = failure_of(hurried_model)

    assert 0.4 < monotonic() - began < LOOSE_S
    assert error.failure == "timeout"
    assert not error.permanent
    assert len(server.requests) == 1


def test_a_requests_own_budget_is_kept_too(server: OpenAIServer, model: OpenAIModel) -> None:
    server.set_behaviours(server_side.hang)
    began = monotonic()

    with deadline.within(0.3):
        error = failure_of(model)

    assert error.failure == "timeout"
    assert monotonic() - began < 3


def test_a_request_whose_budget_is_spent_does_not_wait_at_all(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(server_side.hang)

    with deadline.within(0):
        assert failure_of(model).failure == "timeout"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:1/v1", "connection_refused"),
        ("http://models.invalid/v1", "name_not_resolved"),
    ],
)
def test_a_url_at_which_nobody_answers_is_named(url: str, code: str) -> None:
    model = OpenAIModel(base_url=url, api_key=KEY, model="m")

    error = failure_of(model)

    model.close()
    assert error.log_fields == {"failure": "unavailable", "server_code": code}


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        ({"code": "invalid_api_key"}, {"server_code": "invalid_api_key"}),
        ({"code": "", "type": "auth_error"}, {"server_code": "auth_error"}),
        ({"code": f"key {KEY} is unknown"}, {}),
        ({"code": LOWER_CASE_KEY}, {}),
        ({"code": LOWER_CASE_KEY[:10]}, {}),
        ({"code": f"no_{LOWER_CASE_KEY}"}, {}),
    ],
)
def test_a_refusal_names_status_and_code_for_the_log_but_never_the_key(
    server: OpenAIServer, answer: dict[str, str], fields: dict[str, str]
) -> None:
    model = OpenAIModel(base_url=server.url, api_key=LOWER_CASE_KEY, model="m")
    server.set_behaviours(server_side.error_response(401, answer))

    error = failure_of(model)

    model.close()
    assert error.log_fields == {"failure": "refused", "server_status": 401, **fields}


REFUSALS: list[tuple[Any, ModelFailure, bool]] = [
    (server_side.error_response(401, {"code": "invalid_api_key"}), "refused", True),
    (server_side.error_response(401, {"code": f"key {KEY} is unknown"}), "refused", True),
    (server_side.error_response(403), "refused", True),
    (server_side.error_response(404, {"code": "model_not_found"}), "refused", True),
    (server_side.error_response(302, location="http://127.0.0.1:1/"), "refused", True),
    (server_side.error_response(408), "timeout", False),
    (server_side.error_response(409), "unavailable", False),
    (server_side.error_response(429, retry_after="30"), "rate_limited", False),
    (server_side.error_response(429, {"code": "insufficient_quota"}), "rate_limited", True),
    (server_side.error_response(500), "unavailable", False),
    (server_side.error_response(503, retry_after="30"), "unavailable", False),
    (server_side.error_response(504), "timeout", False),
]


@pytest.mark.parametrize(("behaviour", "failure", "permanent"), REFUSALS)
def test_a_refusal_is_named_asked_once_and_does_not_tell_the_key(
    server: OpenAIServer, model: OpenAIModel, behaviour: Any, failure: ModelFailure, permanent: bool
) -> None:
    server.set_behaviours(behaviour)

    error = failure_of(model)

    assert (error.failure, error.permanent) == (failure, permanent)
    assert len(server.requests) == 1
    assert KEY not in "".join(traceback.format_exception(error))
    assert KEY not in repr(error)


@pytest.mark.parametrize("status", [400, 422])
def test_a_request_that_is_refused_as_bad_is_sent_once_more_without_asking_for_the_price(
    server: OpenAIServer, model: OpenAIModel, status: int
) -> None:
    server.set_behaviours(server_side.error_response(status))

    error = failure_of(model)

    assert (error.failure, error.permanent) == ("refused", True)
    assert ["stream_options" in asked.body for asked in server.requests] == [True, False]


def test_an_endpoint_that_does_not_tell_the_price_is_asked_for_it_once(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(server_side.reject_parameter("stream_options"))

    assert [answer(model), answer(model)] == [server_side.TEXT] * 2
    assert ["stream_options" in asked.body for asked in server.requests] == [True, False, False]


def test_an_endpoint_that_tells_the_price_is_not_asked_twice_when_it_refuses(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(server_side.ok, server_side.error_response(400))
    answer(model)

    assert failure_of(model).failure == "refused"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("told", "tokens"),
    [
        (server_side.usage_event(120, 9), Tokens(120, 9)),
        (server_side.usage_event(-1, 9), None),
        (server_side.usage_event("many", 9), None),
        (server_side.usage_event(10**12, 9), None),
        (server_side.usage_event(None, None), None),
    ],
)
def test_what_the_endpoint_says_it_cost_is_told_if_it_makes_sense(
    server: OpenAIServer, model: OpenAIModel, told: dict[str, Any], tokens: Tokens | None
) -> None:
    server.set_behaviours(server_side.stream_events(HELLO, told))

    assert read_stream(model.stream(make_request("Hello?"))) == (["Hello."], tokens)


def test_tools_are_offered_as_functions(server: OpenAIServer, model: OpenAIModel) -> None:
    list(
        model.stream(
            replace(
                make_request("Hello?", profile=PROFILE_WITH_TOOLS),
                tools=tools.available_tools(PROFILE_WITH_TOOLS),
            )
        )
    )

    offered = [tool["function"] for tool in server.requests[0].body["tools"]]
    assert [tool["name"] for tool in offered] == list(tools.TOOLS)
    assert offered[1]["parameters"]["properties"]["target"]["enum"] == ["sales"]
    assert "tool_choice" not in server.requests[0].body


END = ToolCall("end_call", "{}")
SALES = ToolCall("transfer", '{"target": "sales"}')
IN_PARTS = ('{"tar', 'get": "sa', 'les"}')
STREAMED: list[tuple[list[Any], list[ToolCall]]] = [
    (server_side.tool_deltas("transfer", *IN_PARTS), [SALES]),
    (server_side.tool_deltas("end_call"), [ToolCall("end_call", "")]),
    (server_side.tool_deltas("transfer", *IN_PARTS, index=None), [SALES]),
    (server_side.tool_deltas("transfer", *IN_PARTS, call_id=None), [SALES]),
    (
        [
            *server_side.tool_deltas("transfer", *IN_PARTS),
            *server_side.tool_deltas("end_call", "{}", index=1, call_id="call_2"),
        ],
        [SALES, END],
    ),
    (  # parts of two calls by turns
        [
            event
            for pair in zip(
                server_side.tool_deltas("transfer", *IN_PARTS),
                server_side.tool_deltas("end_call", "{", "}", "", index=1, call_id="call_2"),
                strict=True,
            )
            for event in pair
        ],
        [SALES, END],
    ),
    (  # all of them number 0, told apart by their ids
        [
            *server_side.tool_deltas("transfer", *IN_PARTS),
            *server_side.tool_deltas("end_call", "{}", call_id="call_2"),
        ],
        [SALES, END],
    ),
    (
        server_side.tool_deltas("end_call", *["x" * 10_000] * 50),
        [ToolCall("end_call", "x" * MAX_ARGUMENTS_CHARS)],
    ),
    (server_side.tool_deltas("x" * 10_000, "{}"), [ToolCall("x" * 100, "{}")]),
    (
        [
            event
            for number in range(500)
            for event in server_side.tool_deltas("end_call", "{}", index=number)
        ],
        [END] * 32,
    ),
]


@pytest.mark.parametrize(("events", "calls"), STREAMED)
def test_tool_calls_are_put_together_whole(
    server: OpenAIServer, model: OpenAIModel, events: list[Any], calls: list[ToolCall]
) -> None:
    server.set_behaviours(server_side.stream_events(HELLO, *events))

    pieces, _ = read_stream(model.stream(make_request("Hello?")))

    assert pieces == ["Hello.", *calls]


def test_an_answer_may_be_tool_calls_alone(server: OpenAIServer, model: OpenAIModel) -> None:
    server.set_behaviours(server_side.stream_events(*server_side.tool_deltas("end_call", "{}")))

    assert read_stream(model.stream(make_request("Hello?"))) == ([END], None)


def test_a_tool_call_that_was_cut_off_is_none(server: OpenAIServer, model: OpenAIModel) -> None:
    def cut_off(handler: Any) -> None:
        handler.begin_response()
        for event in server_side.tool_deltas("end_call", "{}"):
            handler.send_event(event)
        handler.close_connection = True

    server.set_behaviours(cut_off)
    pieces = []

    with pytest.raises(ModelError):
        pieces += model.stream(make_request("Hello?"))

    assert pieces == []


def test_another_thread_ends_the_wait_for_a_server_that_hangs(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(server_side.hang_after_chunk)
    stop = CancelToken()
    pieces = model.stream(make_request("Hello?"))
    began = monotonic()

    with cancellation.cancel_scope(stop):
        next(pieces)
        Timer(0.05, stop.cancel).start()
        with pytest.raises(ModelError) as caught:
            next(pieces)

    assert caught.value.failure == "timeout"
    assert len(server.requests) == 1
    assert monotonic() - began < 4


def test_who_was_asked_to_stop_asks_no_server(server: OpenAIServer, model: OpenAIModel) -> None:
    stop = CancelToken()
    stop.cancel()

    with cancellation.cancel_scope(stop):
        assert failure_of(model).failure == "timeout"

    assert server.requests == []


HELLO = server_side.delta(content="Hello.")
CONTENT_FILTER = server_side.delta(finish_reason="content_filter")
BROKEN: list[tuple[Any, ModelFailure]] = [
    (server_side.reset_in_the_middle, "unavailable"),
    (server_side.cut_in_the_middle, "unavailable"),
    (server_side.reset_at_once, "unavailable"),
    (server_side.not_http, "unavailable"),
    (server_side.endless_line, "bad_answer"),
    (server_side.endless_events, "bad_answer"),
    (server_side.endless_error, "bad_answer"),
    (server_side.html_page, "bad_answer"),
    (server_side.stream_events(), "bad_answer"),
    (server_side.stream_events(server_side.delta(content=" ")), "bad_answer"),
    (server_side.stream_events("{not json"), "bad_answer"),
    (server_side.stream_events("[" * 100_000), "bad_answer"),
    (server_side.stream_events([]), "bad_answer"),
    (server_side.stream_events("5"), "bad_answer"),
    (server_side.stream_events('"text"'), "bad_answer"),
    (server_side.stream_events("null"), "bad_answer"),
    (server_side.stream_events({"choices": 5}), "bad_answer"),
    (server_side.stream_events({"choices": [5]}), "bad_answer"),
    (server_side.stream_events({"choices": {"a": 1}}), "bad_answer"),
    (server_side.stream_events(HELLO, {"usage": 5}), "bad_answer"),
    (server_side.stream_events(HELLO, {"choices": [{}]}), "bad_answer"),
    (server_side.stream_events({"choices": [{"delta": None}]}), "bad_answer"),
    (server_side.stream_events({"choices": [{"delta": {"content": 5}}]}), "bad_answer"),
    (server_side.stream_events({"choices": [{"delta": {"tool_calls": 5}}]}), "bad_answer"),
    (server_side.stream_events({"choices": [{"delta": {"tool_calls": [5]}}]}), "bad_answer"),
    (server_side.stream_events(server_side.delta(tool_calls=[{"index": [1]}])), "bad_answer"),
    (
        server_side.stream_events(server_side.delta(tool_calls=[{"index": 0, "function": 5}])),
        "bad_answer",
    ),
    (
        server_side.stream_events(HELLO, server_side.delta(tool_calls=[{"function": {"name": 5}}])),
        "bad_answer",
    ),
    (
        server_side.stream_events(
            server_side.delta(tool_calls=[{"index": 0, "function": {"arguments": {"a": 1}}}])
        ),
        "bad_answer",
    ),
    (server_side.stream_events({"choices": [{"delta": {"content": ["a"]}}]}), "bad_answer"),
    (server_side.stream_events(HELLO, {"choices": [{"delta": {"content": 5}}]}), "bad_answer"),
    (server_side.stream_events({"error": {"message": f"no {KEY}"}}), "unavailable"),
    (server_side.stream_events({"error": {"code": "rate_limit_exceeded"}}), "rate_limited"),
    (server_side.stream_events({"error": {"code": ["odd"], "type": 5}}), "unavailable"),
    (server_side.stream_events({"error": f"no {KEY}"}), "unavailable"),
    (server_side.stream_events(CONTENT_FILTER), "refused"),
]


@pytest.mark.parametrize(("behaviour", "failure"), BROKEN)
def test_a_broken_answer_is_a_model_error_and_leaves_no_connection(
    server: OpenAIServer, model: OpenAIModel, behaviour: Any, failure: ModelFailure
) -> None:
    server.set_behaviours(behaviour)

    error = failure_of(model)

    assert error.failure == failure
    assert KEY not in "".join(traceback.format_exception(error))
    model.close()
    assert server.wait_all_closed()


def test_a_refusal_in_the_models_own_words_is_an_answer(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(
        server_side.stream_events(server_side.delta(refusal="I cannot help with that."))
    )

    assert answer(model) == "I cannot help with that."


def test_a_server_that_is_not_there_is_unavailable(server: OpenAIServer) -> None:
    server.server_close()
    model = OpenAIModel(base_url=server.url, api_key=KEY, model="gpt-test", timeout_s=5.0)

    assert failure_of(model).failure == "unavailable"

    model.close()


def test_stopping_early_stops_the_server(server: OpenAIServer, model: OpenAIModel) -> None:
    server.set_behaviours(server_side.endless_events)

    with closing(model.stream(make_request("Tell me everything."))) as pieces:
        next(pieces)

    assert server.wait_all_closed()


def test_nothing_is_taken_from_the_environment(
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

    assert answer(model) == server_side.TEXT

    (asked,) = server.requests
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert "other" not in str(asked.headers)
    assert "openai" not in str(asked.headers).lower()
    model.close()


def test_neither_the_key_nor_the_conversation_is_logged(
    server: OpenAIServer, model: OpenAIModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    list(model.stream(make_request("My card number is 4711.", system="Secret sauce.")))

    assert caplog.text == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "ftp://example.com"},
        {"base_url": "example.com/v1"},
        {"base_url": "https://"},
        {"api_key": "two\nlines"},
        {"api_key": "schlüssel"},
        {"api_key": "a b"},
    ],
)
def test_settings_that_can_never_work_are_refused(wrong: dict[str, str]) -> None:
    right = {"base_url": "https://example.com/v1", "api_key": KEY, "model": "gpt-test"}

    with pytest.raises(ValueError) as caught:
        create_client(**{**right, **wrong})

    assert "schlüssel" not in str(caught.value)


def test_making_a_client_does_not_import_the_sdk() -> None:
    code = (
        "import sys; from vca.conversation.llm import create_client;"
        "create_client(base_url='https://example.com/v1', api_key='k', model='m').close();"
        "sys.exit('openai' in sys.modules or 'httpx2' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
