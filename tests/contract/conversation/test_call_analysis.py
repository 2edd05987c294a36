"""The analysis of a call by model servers that answer in their own ways, over HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import OpenAIServer, openai_server
from vca.conversation import analysis
from vca.conversation.analysis import Analysis, AnalysisRun
from vca.conversation.llm.model_support import ModelSupport
from vca.conversation.llm.models import Models
from vca.conversation.llm.openai import OpenAIModel
from vca.conversation.transcript import Turn
from vca.conversation.types import Profile, Tokens

PROFILE = Profile("Ada", "receptionist", "We are Acme.", language="en")
TURNS = [Turn("agent", "Hello?"), Turn("caller", "My boiler is broken. I am Ada.")]
EXTRACT = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
FIELDS = {"summary": "A boiler is broken.", "outcome": "unresolved", "data": {"name": "Ada"}}
ANALYSIS = Analysis("A boiler is broken.", "unresolved", {"name": "Ada"})
JSON = json.dumps(FIELDS)
# Messages of LM Studio and of Ollama.
TOOL_CHOICE_REJECTION = {
    "error": "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"
}
TOOLS_REJECTION = {"error": {"message": "registry.ollama.ai/library/gemma3 does not support tools"}}


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture
def model(server: OpenAIServer) -> Iterator[OpenAIModel]:
    model = OpenAIModel(base_url=server.url, api_key="sk-secret", model="m", timeout_s=5.0)
    model.warm_up()
    yield model
    model.close()


def analyse(model: OpenAIModel) -> AnalysisRun:
    return analysis.analyse_call(PROFILE, TURNS, models=Models(model), extract=EXTRACT)


def answer_text(*texts: str, usage: bool = True) -> Any:
    """Return a behaviour that streams a text, whatever tool the request demands."""
    events: list[object] = [openai_behaviours.delta(content=text) for text in texts]
    events.append(openai_behaviours.delta(finish_reason="stop"))
    return openai_behaviours.stream_events(
        *events, *([openai_behaviours.usage_event(100, 20)] if usage else [])
    )


def answer_call(arguments: Any, *, name: str = "note_call") -> Any:
    """Return a behaviour that streams one tool call with arguments of any type."""
    function = {"name": name, "arguments": arguments}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    return openai_behaviours.stream_events(
        openai_behaviours.delta(tool_calls=[call]),
        openai_behaviours.delta(finish_reason="tool_calls"),
        openai_behaviours.usage_event(100, 20),
    )


def changed(**changes: Any) -> str:
    return json.dumps({**FIELDS, **changes})


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        pytest.param(answer_call(JSON), ANALYSIS, id="tool call"),
        pytest.param(answer_call(FIELDS), ANALYSIS, id="arguments as an object"),
        pytest.param(answer_call(json.dumps(JSON)), ANALYSIS, id="arguments encoded twice"),
        pytest.param(answer_call(f"```json\n{JSON}\n```"), ANALYSIS, id="arguments in a fence"),
        pytest.param(answer_call(JSON, name="NoteCall"), ANALYSIS, id="another name"),
        pytest.param(answer_text(JSON[:30], JSON[30:]), ANALYSIS, id="JSON in the text"),
        pytest.param(answer_text(f"```json\n{JSON}\n```"), ANALYSIS, id="JSON in a fence"),
        pytest.param(answer_text(f"Here it is:\n{JSON}\nBye!"), ANALYSIS, id="JSON between words"),
        pytest.param(
            answer_text("<think>They are {angry}.", "</think>\n\n", JSON), ANALYSIS, id="reasoning"
        ),
        pytest.param(
            openai_behaviours.json_response(
                200,
                {
                    "choices": [{"message": {"content": JSON}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 20},
                },
            ),
            ANALYSIS,
            id="not streamed",
        ),
        pytest.param(answer_call(changed(sentiment="angry")), ANALYSIS, id="an extra member"),
        pytest.param(
            answer_call(changed(outcome="Resolved")),
            Analysis("A boiler is broken.", "resolved", {"name": "Ada"}),
            id="outcome in upper case",
        ),
        pytest.param(
            answer_call(changed(outcome="message-taken")),
            Analysis("A boiler is broken.", "message_taken", {"name": "Ada"}),
            id="outcome with a hyphen",
        ),
        pytest.param(
            answer_call(changed(summary="It is cold here. " * 40)),
            Analysis(("It is cold here. " * 35).strip(), "unresolved", {"name": "Ada"}),
            id="a long summary",
        ),
        pytest.param(answer_call(changed(data='{"name": "Ada"}')), ANALYSIS, id="data as text"),
        pytest.param(
            answer_call(changed(data=None)),
            Analysis("A boiler is broken.", "unresolved", None),
            id="null data",
        ),
    ],
)
def test_an_answer_in_any_form_is_used(
    server: OpenAIServer, model: OpenAIModel, behaviour: Any, expected: Analysis
) -> None:
    server.set_behaviours(behaviour)

    assert analyse(model) == AnalysisRun(Tokens(100, 20), expected)
    assert len(server.requests) == 1


def test_a_server_that_refuses_a_named_tool_choice_is_asked_in_another_way(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    rejection = openai_behaviours.json_response(400, TOOL_CHOICE_REJECTION)
    server.set_behaviours(rejection, answer_call(JSON))

    run = analyse(model)
    run_after = analyse(model)

    assert run.analysis == run_after.analysis == ANALYSIS
    assert [request.body["tool_choice"] for request in server.requests] == [
        {"type": "function", "function": {"name": "note_call"}},
        "required",
        "required",
    ]


def reject_tools(*answers: str) -> Any:
    """Return a behaviour that rejects tools, and answers other requests with these texts."""
    remaining = list(answers)

    def behave(handler: Any) -> None:
        if "tools" in handler.server.requests[-1].body:
            openai_behaviours.json_response(400, TOOLS_REJECTION)(handler)
        else:
            answer_text(remaining.pop(0))(handler)

    return behave


def accepted_requests(server: OpenAIServer) -> list[str]:
    """Return the messages of each request without tools, as text."""
    requests = [request.body for request in server.requests if "tools" not in request.body]
    return [json.dumps(body["messages"]).replace("\\", "") for body in requests]


def test_a_model_whose_server_rejects_tools_writes_the_analysis_as_text(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    without_data = json.dumps({name: FIELDS[name] for name in ("summary", "outcome")})
    server.set_behaviours(reject_tools(without_data, JSON))

    assert analyse(model).analysis == ANALYSIS
    first, correction = accepted_requests(server)
    assert '"required":["name"]' not in first
    assert '"required":["name"]' in correction


def test_a_model_known_to_have_no_tools_gets_the_schema_at_once(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    model.set_support("m", ModelSupport(tools=False))
    server.set_behaviours(reject_tools(JSON))

    assert analyse(model).analysis == ANALYSIS
    assert len(server.requests) == 1
    assert '"required":["name"]' in accepted_requests(server)[0]


def test_an_answer_that_cannot_be_used_costs_one_more_request(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(answer_text("It was a pleasant call."))

    run = analyse(model)

    assert run.failure is not None
    assert run.failure.failure == "bad_answer"
    assert run.tokens == Tokens(200, 40)
    assert len(server.requests) == 2


def test_an_empty_answer_costs_one_more_request(server: OpenAIServer, model: OpenAIModel) -> None:
    server.set_behaviours(answer_text(""), answer_call(JSON))

    run = analyse(model)

    assert run.analysis == ANALYSIS
    assert run.tokens.input > 100


def test_tokens_are_estimated_if_the_server_reports_none(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(answer_text(JSON, usage=False))

    assert analyse(model).tokens.output == -(-len(JSON) // 4)


def test_a_connection_that_breaks_in_the_answer_is_a_failure_of_the_server(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(openai_behaviours.cut_in_the_middle)

    run = analyse(model)

    assert run.failure is not None
    assert run.failure.failure == "unavailable"
    assert run.tokens.total > 0
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "failure", "permanent"),
    [
        (401, "invalid_api_key", "refused", True),
        (404, "model_not_found", "refused", True),
        (429, "rate_limit_exceeded", "rate_limited", False),
        (503, "overloaded", "unavailable", False),
    ],
)
def test_a_rejected_request_is_a_failure_with_status_and_code(
    server: OpenAIServer,
    model: OpenAIModel,
    status: int,
    code: str,
    failure: str,
    permanent: bool,
) -> None:
    server.set_behaviours(openai_behaviours.error_response(status, {"code": code}))

    run = analyse(model)

    assert run.failure is not None
    assert (run.failure.failure, run.failure.permanent) == (failure, permanent)
    assert (run.failure.server_status, run.failure.server_code) == (status, code)
    assert run.tokens == Tokens()
    assert len(server.requests) == 1
