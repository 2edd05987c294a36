"""The errors of the OpenAI client: failed connections, error responses, invalid responses."""

import traceback
from typing import Any

import pytest

from tests.contract.conversation.llm.openai.conftest import KEY, request_failure
from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import OpenAIServer
from vca.conversation.llm import ModelFailure
from vca.conversation.llm.openai import OpenAIModel

# A key that has the shape of an error code.
LOWER_CASE_KEY = "abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:1/v1", "connection_refused"),
        ("http://models.invalid/v1", "name_not_resolved"),
        ("http://models..invalid/v1", "name_not_resolved"),
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
    (openai_behaviours.stream_events({"choices": [{}]}), "bad_answer"),
    (openai_behaviours.stream_events({"choices": {"a": 1}}), "bad_answer"),
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


def test_a_server_that_does_not_listen_is_unavailable(server: OpenAIServer) -> None:
    server.server_close()
    model = OpenAIModel(base_url=server.url, api_key=KEY, model="gpt-test", timeout_s=5.0)

    assert request_failure(model).failure == "unavailable"

    model.close()
