"""Fixtures and helpers for replays of finished calls."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from flask import Flask

from tests.fakes.models import Answer, streams_answer
from tests.support.api import ApiResponse
from tests.support.factories import Tenant
from tests.support.services import use_services
from vca.conversation.llm import AnswerSummary, ModelClient, ModelRequest, ToolCall
from vca.conversation.llm.models import Models
from vca.conversation.types import Tokens

UTTERANCES = ("I need an appointment.", "Tomorrow at nine.", "Thank you.")
ReplyFunction = Callable[[ModelRequest], tuple[str | ToolCall, ...]]


class FunctionModel(ModelClient):
    """A model whose replies a function returns; each reply costs 10 input and 2 output tokens."""

    deterministic: ClassVar[bool] = True

    def __init__(self, make_reply: ReplyFunction) -> None:
        self.make_reply = make_reply
        self.requests: list[ModelRequest] = []

    @streams_answer
    def stream(self, request: ModelRequest) -> Answer:
        self.requests.append(request)
        yield from self.make_reply(request)
        return AnswerSummary(Tokens(10, 2))


def reply_from_prompt(request: ModelRequest) -> tuple[str | ToolCall, ...]:
    """Return the last words of the system prompt and of the caller's utterance."""
    last_word = request.messages[-1].text.removesuffix(".").split()[-1]
    return (f"{request.profile.system_prompt.split()[-1]} {last_word}.",)


def install_model(make_reply: ReplyFunction) -> FunctionModel:
    model = FunctionModel(make_reply)
    use_services(models=Models(model))
    return model


@pytest.fixture
def other_profile(acme: Tenant) -> dict[str, Any]:
    """Create two profiles of Acme and return the second."""
    acme.profile(name="one", system_prompt="Say One", greeting="Acme, one.")
    return acme.profile(
        name="two",
        system_prompt="Say Two",
        greeting="Acme, two.",
        tools=["end_call", "transfer", "take_message", "fallback"],
        transfer_targets={"front desk": {"number": "+442079460123", "description": "People."}},
    )


@pytest.fixture
def call_id(app: Flask, acme: Tenant, other_profile: dict[str, Any]) -> str:
    """Return the id of a finished call of Acme with the first profile."""
    install_model(reply_from_prompt)
    call_id: str = acme.simulate(acme.number()["did_number"], **{"from": "+14155550123"})["call_id"]
    for utterance in UTTERANCES:
        acme.say(call_id, utterance)
    acme.post(f"/calls/{call_id}/hangup")
    return call_id


def post_replay(tenant: Tenant, call_id: str, **body: Any) -> ApiResponse:
    return tenant.post(f"/calls/{call_id}/replay", body)


def create_replay(tenant: Tenant, call_id: str, profile: dict[str, Any], **body: Any) -> Any:
    response = post_replay(tenant, call_id, ai_profile_id=profile["id"], **body)
    assert response.status_code == 200, response.text
    return response.json


def turn_texts(replay: Any, side: str) -> list[str | None]:
    return [turn[side] and turn[side]["text"] for turn in replay["turns"]]
