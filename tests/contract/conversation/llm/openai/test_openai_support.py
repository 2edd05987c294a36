"""VCA learns what a server rejects from errors that name it, and from requests of its own."""

from dataclasses import replace
from typing import Any

import pytest

from tests.contract.conversation.llm.openai.conftest import request_text
from tests.contract.conversation.llm.openai.rejections import (
    REJECTIONS,
    TEXT,
    Body,
    full_request,
    reject,
)
from tests.contract.suites.llm import (
    NOTE_TOOL,
    make_request,
    read_stream,
    read_text,
)
from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import OpenAIServer
from vca.conversation.llm import ModelError
from vca.conversation.llm.model_support import FULL_SUPPORT, RELEARN_AFTER_S, SupportStore
from vca.conversation.llm.openai import OpenAIModel


@pytest.mark.parametrize("name", REJECTIONS)
def test_a_part_that_an_error_names_is_left_out_from_then_on(
    server: OpenAIServer, model: OpenAIModel, name: str
) -> None:
    is_rejected, status, error = REJECTIONS[name]
    server.set_behaviours(reject(is_rejected, status, **error))

    assert [read_text(model.stream(full_request())) for _ in range(2)] == [TEXT, TEXT]

    assert [bool(is_rejected(request.body)) for request in server.requests] == [True, False, False]
    assert model.known_support() == FULL_SUPPORT.without(name.split(" ")[0])  # type: ignore[arg-type]


def test_only_the_named_part_is_left_out(server: OpenAIServer, model: OpenAIModel) -> None:
    is_rejected, status, error = REJECTIONS["nullable_types"]
    server.set_behaviours(reject(is_rejected, status, **error))

    read_text(model.stream(full_request()))

    first, second = (request.body for request in server.requests)
    assert {**second, "tools": None} == {**first, "tools": None}
    message_tool = next(
        tool["function"]["parameters"]
        for tool in second["tools"]
        if tool["function"]["name"] == "take_message"
    )
    assert message_tool["properties"]["name"]["type"] == "string"
    assert message_tool["required"] == ["reason"]


def test_without_a_system_role_the_prompt_precedes_the_first_message(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    is_rejected, status, error = REJECTIONS["system_role"]
    server.set_behaviours(reject(is_rejected, status, **error))

    read_text(model.stream(make_request("Hello.", "Who calls?", "Me.", system="Be kind.")))

    assert [message["role"] for message in server.requests[1].body["messages"]] == [
        "user",
        "assistant",
        "user",
    ]
    assert server.requests[1].body["messages"][0]["content"] == "Be kind.\n\nHello."


def test_a_validators_error_names_the_part_by_its_place(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    detail = [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]

    def behave(handler: Any) -> None:
        if "stream_options" in handler.server.requests[-1].body:
            openai_behaviours.json_response(422, {"detail": detail})(handler)
        else:
            openai_behaviours.ok(handler)

    server.set_behaviours(behave)

    assert request_text(model) == TEXT
    assert not model.known_support().stream_options


def test_an_error_in_a_list_names_a_part(server: OpenAIServer, model: OpenAIModel) -> None:
    is_rejected, status, error = REJECTIONS["nullable_types"]

    def behave(handler: Any) -> None:
        if is_rejected(handler.server.requests[-1].body):
            openai_behaviours.json_response(status, [{"error": error}])(handler)
        else:
            openai_behaviours.ok(handler)

    server.set_behaviours(behave)

    assert read_text(model.stream(full_request())) == TEXT
    assert model.known_support() == FULL_SUPPORT.without("nullable_types")


@pytest.mark.parametrize(
    "error",
    [
        {"message": "This model's maximum context length is 8192 tokens.", "code": 400},
        {"message": "too long", "code": "context_length_exceeded", "param": "messages"},
        {"message": "The response was filtered", "code": "content_filter"},
        {"message": "context length exceeded; tools and stream_options are counted"},
    ],
)
def test_an_error_about_content_or_length_teaches_nothing_and_is_not_retried(
    server: OpenAIServer, model: OpenAIModel, error: Body
) -> None:
    server.set_behaviours(reject(lambda body: True, **error))

    for _ in range(2):
        with pytest.raises(ModelError):
            read_text(model.stream(full_request()))

    assert len(server.requests) == 2
    assert model.known_support() == FULL_SUPPORT


def test_a_shorter_request_that_succeeds_teaches_nothing(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(reject(lambda body: len(str(body)) > 1_000, message="Bad request"))

    assert read_text(model.stream(full_request())) == TEXT

    assert ["tools" in request.body for request in server.requests] == [True, False]
    assert model.known_support() == FULL_SUPPORT


@pytest.mark.parametrize("text", ["does not support tools", "stream_options", "System role no"])
def test_a_prompt_that_an_error_repeats_teaches_nothing(
    server: OpenAIServer, model: OpenAIModel, text: str
) -> None:
    server.set_behaviours(reject(lambda body: True, message=f"Cannot parse: {text}"))

    with pytest.raises(ModelError):
        read_text(model.stream(full_request(text)))

    assert model.known_support() == FULL_SUPPORT


def test_a_name_in_the_schema_of_a_tenant_teaches_nothing(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    note_tool = replace(
        NOTE_TOOL,
        parameters={"type": "object", "properties": {"stream_options": {"type": "string"}}},
    )
    server.set_behaviours(
        reject(lambda body: "tools" in body, message="Invalid schema: stream_options, type array")
    )

    read_stream(model.stream(replace(make_request("Hello?"), tools=(note_tool,), must_call=True)))

    assert model.known_support() == FULL_SUPPORT


@pytest.mark.parametrize(
    "message",
    [
        "Invalid schema for function 'note_call': In context=(), 'oneOf' is not permitted.",
        'Unknown name "type": Proto field is not repeating, cannot start list.',
        "This schema of a tool is not supported",
    ],
)
def test_a_rejected_schema_of_a_tenant_teaches_nothing(
    server: OpenAIServer, model: OpenAIModel, message: str
) -> None:
    server.set_behaviours(reject(lambda body: "tools" in body, message=message))
    request = replace(make_request("Hello?"), tools=(NOTE_TOOL,), must_call=True)
    model.set_support(model.name, FULL_SUPPORT.without("tool_choice").without("tool_choice"))

    with pytest.raises(ModelError):
        read_stream(model.stream(request))

    assert model.known_support().tools
    assert model.known_support().nullable_types


def test_a_rejected_schema_of_an_own_tool_does_not_take_the_tools_away(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    message = "Invalid schema for function 'transfer': 'enum' is not permitted."
    server.set_behaviours(reject(lambda body: "tools" in body, message=message))

    read_text(model.stream(full_request()))

    assert model.known_support().tools


def test_there_are_at_most_two_further_tries(server: OpenAIServer, model: OpenAIModel) -> None:
    server.set_behaviours(
        reject(lambda body: "temperature" in body, param="temperature"),
        openai_behaviours.error_response(400),
    )

    with pytest.raises(ModelError):
        read_text(model.stream(full_request()))

    first, second, third = (set(request.body) for request in server.requests)
    assert first - second == {"temperature"}
    assert second - third == {"stream_options", "tools"}


def test_each_model_of_an_endpoint_is_learnt_separately(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(
        reject(
            lambda body: body["model"] == "b" and "stream_options" in body,
            param="stream_options",
        )
    )

    for name in ("a", "b", "a", "b"):
        read_text(model.stream(replace(make_request("Hello?"), model=name)))

    assert [
        (request.body["model"], "stream_options" in request.body) for request in server.requests
    ] == [("a", True), ("b", True), ("b", False), ("a", True), ("b", False)]


def test_learnt_support_expires_after_an_hour() -> None:
    now = [0.0]
    supports = SupportStore(lambda: now[0])
    supports.learn("m", "tools")

    assert not supports.get("m").tools
    now[0] = RELEARN_AFTER_S
    assert supports.get("m") == FULL_SUPPORT
