"""Fixtures and helpers for tests of the OpenAI client against a real server on loopback."""

from collections.abc import Iterator

import pytest

from tests.contract.suites.llm import make_request, read_text
from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import OpenAIServer, openai_server
from vca.conversation.llm import ModelClient, ModelError
from vca.conversation.llm.openai import OpenAIModel

KEY = "sk-secret-4711"
HELLO = openai_behaviours.delta(content="Hello.")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture
def model(server: OpenAIServer) -> Iterator[OpenAIModel]:
    yield from connected_model(server, timeout_s=5.0)


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
