"""A simulation whose words come as server-sent events, as the agent says them."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

import pytest
from flask import Flask

from tests.support.api import ApiResponse
from tests.support.factories import Tenant
from vca.conversation.llm import ModelClient, ModelRequest, ToolCall
from vca.conversation.llm.models import Models
from vca.kit import db, json
from vca.kit.db import DatabaseUnavailable
from vca.kit.web import sse
from vca.telephony import providers
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core.call_services import CallServices
from vca.tenant.calls.simulation import simulated_calls, stream_limit

EVENTS = {"Accept": "text/event-stream"}
SENTENCES = ("We are open until six today. ", "Shall I write you down for half past four? ")


class Model(ModelClient):
    """Says its pieces, and notes what is open meanwhile."""

    deterministic: ClassVar[bool] = True

    def __init__(self, *pieces: str | ToolCall) -> None:
        self.pieces = pieces
        self.open_transactions: list[int] = []

    def stream(self, request: ModelRequest) -> Generator[str | ToolCall, None, None]:
        for piece in self.pieces:
            self.open_transactions.append(db.current_database().engine.pool.checkedout())  # type: ignore[attr-defined]
            yield piece


@pytest.fixture
def model(app: Flask) -> Model:
    model = Model(*SENTENCES)
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(model))
    )
    return model


@pytest.fixture
def call(acme: Tenant) -> str:
    """A live simulated call of acme's."""
    acme.profile(greeting="Acme.", tools=["transfer"], transfer_targets=_targets())
    found: str = acme.simulate(acme.number()["did_number"])["call_id"]
    return found


@pytest.fixture
def single_answer_limit(app: Flask) -> Iterator[None]:
    """One long answer at a time in this process."""
    stream_limit.set_max_streams(1)
    yield
    stream_limit.set_max_streams(4)


def _targets() -> dict[str, Any]:
    return {"front desk": {"number": "+442079460123", "description": "People."}}


def _say(tenant: Tenant, call: str, words: str = "When do you close?") -> ApiResponse:
    return tenant.post(f"/simulations/{call}/turns", {"text": words}, headers=EVENTS)


def _events(response: ApiResponse) -> list[tuple[str, Any]]:
    """(name, data) of each event; fails for anything that is not one."""
    assert response.mimetype == "text/event-stream", response.text
    found = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def _stream(tenant: Tenant, call: str) -> Generator[sse.Event, None, None]:
    return simulated_calls.stream_turn(
        tenant.ref,
        carriers=providers.current_carriers(),
        services=call_services.current_services(),
        call_id=UUID(call),
        text="When do you close?",
    )


def test_each_clause_is_an_event_and_the_whole_reply_the_last(
    acme: Tenant, call: str, model: Model
) -> None:
    response = _say(acme, call)

    found = _events(response)
    assert [name for name, _ in found] == ["clause", "clause", "reply"]
    assert [told["text"] for _, told in found[:-1]] == [each.strip() for each in SENTENCES]
    assert found[-1][1] == {
        "status": "in_progress",
        "reply": "".join(SENTENCES).strip(),
        "actions": [],
    }
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in response.headers


def test_the_reply_is_what_the_plain_answer_is(acme: Tenant, call: str, model: Model) -> None:
    plain = acme.say(call, "When do you close?")

    streamed = _events(_say(acme, call, "And tomorrow?"))[-1][1]

    assert streamed == plain


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html", ""])
def test_who_does_not_ask_for_events_gets_json(
    acme: Tenant, call: str, model: Model, accept: str
) -> None:
    path = f"/simulations/{call}/turns"

    response = acme.post(path, {"text": "Hello?"}, headers={"Accept": accept})

    assert response.mimetype == "application/json"


def test_no_transaction_is_open_while_the_words_come(acme: Tenant, call: str, model: Model) -> None:
    stream = _stream(acme, call)
    open_between = [db.current_database().engine.pool.checkedout() for _ in stream]  # type: ignore[attr-defined]

    assert model.open_transactions == [0, 0]
    assert open_between == [0, 0, 0]


def test_what_cannot_be_said_is_a_problem_document(
    acme: Tenant, globex: Tenant, call: str, model: Model
) -> None:
    foreign = _say(globex, call)
    empty = acme.post(f"/simulations/{call}/turns", {"text": ""}, headers=EVENTS)
    acme.post(f"/calls/{call}/hangup")
    over = _say(acme, call)

    assert (foreign.status_code, foreign.json["code"]) == (404, "not-found")
    assert (empty.status_code, empty.json["errors"][0]["pointer"]) == (400, "/text")
    assert (over.status_code, over.json["code"]) == (409, "call-ended")


def test_what_fails_later_is_the_last_event(
    acme: Tenant, call: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(simulated_calls, "build_reply", away)

    response = _say(acme, call)

    name, told = _events(response)[-1]
    assert (name, told["status"], told["code"]) == ("error", 503, "database-unavailable")
    assert told["request_id"] == response.headers["X-Request-Id"]
    assert response.status_code == 200


def test_a_client_that_goes_away_leaves_what_was_said(
    acme: Tenant, call: str, model: Model
) -> None:
    stream = _stream(acme, call)
    assert next(stream) == ("clause", {"text": SENTENCES[0].strip()})

    stream.close()

    texts = [turn["text"] for turn in acme.get(f"/calls/{call}/turns").json]
    assert texts == ["Acme.", "When do you close?", SENTENCES[0].strip()]
    assert acme.say(call, "Hello?")["status"] == "in_progress"


def test_one_stream_too_many_is_refused_and_a_place_is_given_back(
    acme: Tenant, call: str, model: Model, single_answer_limit: None
) -> None:
    stream = _stream(acme, call)
    next(stream)

    refused = _say(acme, call)
    plain = acme.post(f"/simulations/{call}/turns", {"text": "Hello?"})
    stream.close()
    again = _say(acme, call)

    assert (refused.status_code, refused.json["code"]) == (429, "too-many-streams")
    assert int(refused.headers["Retry-After"]) > 0
    assert plain.status_code == 200
    assert _events(again)[-1][0] == "reply"


def test_a_refusal_holds_no_place(
    acme: Tenant, call: str, model: Model, single_answer_limit: None
) -> None:
    acme.post(f"/calls/{call}/hangup")

    codes = [_say(acme, call).json["code"] for _ in range(3)]

    assert codes == ["call-ended"] * 3


def test_an_answer_that_nobody_begins_to_read_gives_its_place_back(
    acme: Tenant, call: str, model: Model, single_answer_limit: None, app: Flask
) -> None:
    with app.test_request_context():
        response = sse.stream_response(_stream(acme, call))

        response.close()

    with stream_limit.stream_slot():
        pass


def test_a_transfer_is_an_action_that_tells_no_number(app: Flask, acme: Tenant, call: str) -> None:
    away = ToolCall("transfer", '{"target": "front desk"}')
    call_services.set_current_services(_with(Model("One moment, please. ", away)))

    reply = _events(_say(acme, call, "The front desk, please."))[-1][1]

    assert (reply["actions"], reply["status"]) == ([{"type": "transfer"}], "transferring")
    assert acme.say(call, "Again, please.")["actions"] == [{"type": "transfer"}]


def _with(model: Model) -> CallServices:
    return replace(call_services.current_services(), models=Models(model))
