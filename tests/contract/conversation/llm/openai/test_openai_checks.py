"""Checks of a model: what VCA finds out about a server with requests of its own."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.contract.conversation.llm.openai.conftest import KEY, request_failure
from tests.contract.conversation.llm.openai.rejections import (
    REJECTIONS,
    Body,
    full_request,
    reject,
)
from tests.contract.suites.llm import NOTE_TOOL, make_request, read_stream, read_text
from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import OpenAIServer
from vca.conversation.llm import ModelError
from vca.conversation.llm.model_support import FULL_SUPPORT
from vca.conversation.llm.openai import OpenAIModel


@pytest.mark.parametrize("name", REJECTIONS)
def test_a_check_finds_what_a_server_does_not_accept(
    server: OpenAIServer, model: OpenAIModel, name: str
) -> None:
    is_rejected, status, error = REJECTIONS[name]
    server.set_behaviours(reject(is_rejected, status, **error))

    check = model.check()

    expected_support = FULL_SUPPORT.without(name.split(" ")[0])  # type: ignore[arg-type]
    if not expected_support.tools:
        expected_support = expected_support.without("tool_role")
    assert check.support == expected_support == model.known_support()


@pytest.mark.parametrize("name", REJECTIONS)
def test_a_check_finds_what_a_server_does_not_name(
    server: OpenAIServer, model: OpenAIModel, name: str
) -> None:
    is_rejected, _, _ = REJECTIONS[name]
    server.set_behaviours(reject(is_rejected, 400, message="Bad request"))

    check = model.check()

    assert check.support is not None
    feature = name.split(" ")[0]
    assert getattr(check.support, feature) is False
    others = {"stream_options", "temperature", "tools", "system_role"} - {feature}
    assert all(getattr(check.support, other) for other in others)


@pytest.mark.parametrize(
    ("is_rejected", "choice"),
    [
        (lambda body: isinstance(body.get("tool_choice"), dict), "required"),
        (lambda body: "tool_choice" in body, "auto"),
    ],
)
def test_the_strictest_accepted_tool_choice_is_used(
    server: OpenAIServer, model: OpenAIModel, is_rejected: Callable[[Body], object], choice: str
) -> None:
    server.set_behaviours(reject(is_rejected, message="Invalid tool_choice type"))

    check = model.check()

    assert check.support
    assert check.support.tool_choice == choice
    request = replace(make_request("Hello?"), tools=(NOTE_TOOL,), must_call=True)
    read_stream(model.stream(request))
    assert server.requests[-1].body.get("tool_choice", "auto") == choice


def test_a_check_notices_that_results_of_tools_are_not_accepted(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(
        reject(lambda body: body["messages"][-1]["role"] == "tool", 500, message="jinja: raise")
    )

    assert model.check().support == FULL_SUPPORT.without("tool_role")


def test_a_check_sends_few_requests_without_anything_of_a_tenant(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    assert model.check().support == FULL_SUPPORT

    assert len(server.requests) == 3


def test_after_a_check_an_unnamed_rejection_is_not_retried(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    model.check()
    server.requests.clear()
    server.set_behaviours(openai_behaviours.error_response(400))

    assert request_failure(model).failure == "refused"
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 404, 429, 503])
def test_a_check_of_a_model_that_cannot_answer_says_why_without_key_and_request(
    server: OpenAIServer, model: OpenAIModel, status: int
) -> None:
    server.set_behaviours(openai_behaviours.error_response(status, {"code": "some_code"}))

    check = model.check()

    assert check.support is None
    assert check.failure
    assert check.failure.end_detail == f"{status} some_code"
    assert KEY not in str(check.failure.server_message)
    assert check.failure.server_message == "Incorrect API key provided: Bearer …. Ask somebody."


def test_a_server_that_repeats_key_and_prompt_is_quoted_without_them(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    prompt, utterance = "Our secret price list: chairs 40.", "My card number is 4711 0815 4711."
    echo = f"Bad key {KEY[:10]}*** for {prompt.upper()} / {utterance} {'long ' * 100}"
    server.set_behaviours(openai_behaviours.json_response(403, {"error": {"message": echo}}))

    with pytest.raises(ModelError) as error_info:
        read_text(model.stream(full_request(utterance, prompt)))

    message = error_info.value.server_message
    assert message
    assert message.startswith("Bad key …*** for … / … ")
    assert len(message) == 200
    for word in ("sk-secret", "price", "PRICE", "4711", "card"):
        assert word not in message
    assert "Bad key" not in str(error_info.value)
