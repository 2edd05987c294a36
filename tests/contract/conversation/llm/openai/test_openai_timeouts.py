"""The OpenAI client stops at its deadline, and when another thread cancels the request."""

from collections.abc import Iterator
from threading import Timer
from time import monotonic
from typing import Any

import pytest

from tests.contract.conversation.llm.openai.conftest import (
    connected_model,
    request_failure,
    request_text,
)
from tests.contract.suites.llm import make_request
from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import OpenAIServer
from vca.conversation.llm import ModelError, cancellation
from vca.conversation.llm.cancellation import CancelToken
from vca.conversation.llm.openai import OpenAIModel
from vca.conversation.stream_reader import StreamReader
from vca.kit import deadline

MAX_ELAPSED_S = 5.0


@pytest.fixture
def short_timeout_model(server: OpenAIServer) -> Iterator[OpenAIModel]:
    """Return a client with a timeout of half a second."""
    yield from connected_model(server, timeout_s=0.5)


def test_a_slow_first_token_within_the_deadline_is_received(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(openai_behaviours.slow_first_token)

    assert request_text(model) == "At last."


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


@pytest.mark.parametrize(
    "behaviour",
    [openai_behaviours.stream_until_disconnect, openai_behaviours.wait_for_disconnect],
)
def test_the_server_sees_a_disconnect_when_the_reader_of_a_stream_is_closed(
    server: OpenAIServer, model: OpenAIModel, behaviour: Any
) -> None:
    server.set_behaviours(behaviour)
    reader = StreamReader(model, make_request("Hello?"))
    assert reader.next_item(5)

    assert not server.client_disconnected.is_set()
    reader.close()

    assert server.client_disconnected.wait(1)


def test_a_cancelled_request_is_not_sent(server: OpenAIServer, model: OpenAIModel) -> None:
    cancel_token = CancelToken()
    cancel_token.cancel()

    with cancellation.cancel_scope(cancel_token):
        assert request_failure(model).failure == "timeout"

    assert server.requests == []
