"""Turns of a simulation as server-sent events."""

from collections.abc import Generator, Iterator
from typing import Any, ClassVar
from uuid import UUID

import pytest
from flask import Flask, Response
from sqlalchemy import QueuePool

from tests.fakes.models import Answer, streams_answer
from tests.support.admissions import calling_out_places
from tests.support.api import ApiResponse
from tests.support.factories import Tenant
from tests.support.services import app_services, use_services
from vca.api import admission
from vca.conversation.llm import AnswerSummary, ModelClient, ModelRequest, ToolCall
from vca.conversation.llm.models import Models
from vca.kit import json
from vca.kit.admission import Admission
from vca.kit.db import DatabaseUnavailable
from vca.kit.web import sse
from vca.tenant.calls.simulation import simulated_calls

EVENT_STREAM_HEADERS = {"Accept": "text/event-stream"}
SENTENCES = ("We are open until six today. ", "Shall I write you down for half past four? ")


class ConnectionCountingModel(ModelClient):
    """Sends its chunks, and records the number of connections in use before each."""

    deterministic: ClassVar[bool] = True

    def __init__(self, *chunks: str | ToolCall) -> None:
        self.chunks = chunks
        self.connection_counts: list[int] = []

    @streams_answer
    def stream(self, request: ModelRequest) -> Answer:
        for chunk in self.chunks:
            self.connection_counts.append(_count_connections_in_use())
            yield chunk
        return AnswerSummary()


@pytest.fixture
def model(app: Flask) -> ConnectionCountingModel:
    """Install and return a model that says two sentences."""
    model = ConnectionCountingModel(*SENTENCES)
    _install_model(model)
    return model


@pytest.fixture
def call_id(acme: Tenant) -> str:
    """Return the id of a live simulated call of acme."""
    targets = {"front desk": {"number": "+442079460123", "description": "People."}}
    acme.profile(greeting="Acme.", tools=["transfer"], transfer_targets=targets)
    call_id: str = acme.simulate(acme.number()["did_number"])["call_id"]
    return call_id


@pytest.fixture
def single_place(app: Flask) -> Iterator[Admission]:
    """Allow one operation that calls out in this process."""
    with calling_out_places(app, 1) as calling_out:
        yield calling_out


def _install_model(model: ModelClient) -> None:
    use_services(models=Models(model))


def _count_connections_in_use() -> int:
    pool = app_services().database.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


def _say(tenant: Tenant, call_id: str, utterance: str = "When do you close?") -> ApiResponse:
    """Send a turn and request its answer as events."""
    path = f"/simulations/{call_id}/turns"
    return tenant.post(path, {"text": utterance}, headers=EVENT_STREAM_HEADERS)


def _parse_events(response: ApiResponse) -> list[tuple[str, Any]]:
    """Return (name, data) of each event; fail for a block that is no event."""
    assert response.mimetype == "text/event-stream", response.text
    events = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def _stream_turn(tenant: Tenant, call_id: str) -> Generator[sse.Event, None, None]:
    return simulated_calls.stream_turn(
        tenant.ref,
        carriers=app_services().carriers,
        services=app_services(),
        call_id=UUID(call_id),
        text="When do you close?",
    )


def test_each_spoken_chunk_is_an_event_and_the_reply_is_the_last_event(
    acme: Tenant, call_id: str, model: ConnectionCountingModel
) -> None:
    response = _say(acme, call_id)

    events = _parse_events(response)
    assert [name for name, _ in events] == ["clause", "clause", "reply"]
    assert [data["text"] for _, data in events[:-1]] == [sentence.strip() for sentence in SENTENCES]
    assert events[-1][1] == {
        "status": "in_progress",
        "reply": "".join(SENTENCES).strip(),
        "actions": [],
        "end_reason": None,
    }
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in response.headers


def test_the_reply_event_equals_the_json_response(
    acme: Tenant, call_id: str, model: ConnectionCountingModel
) -> None:
    json_body = acme.say(call_id, "When do you close?")

    reply_event = _parse_events(_say(acme, call_id, "And tomorrow?"))[-1][1]

    assert reply_event == json_body


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html", ""])
def test_other_accept_headers_get_json(
    acme: Tenant, call_id: str, model: ConnectionCountingModel, accept: str
) -> None:
    path = f"/simulations/{call_id}/turns"

    response = acme.post(path, {"text": "Hello?"}, headers={"Accept": accept})

    assert response.mimetype == "application/json"


def test_no_connection_is_in_use_while_the_answer_streams(
    acme: Tenant, call_id: str, model: ConnectionCountingModel
) -> None:
    stream = _stream_turn(acme, call_id)
    connection_counts = [_count_connections_in_use() for _ in stream]

    assert model.connection_counts == [0, 0]
    assert connection_counts == [0, 0, 0]


def test_an_invalid_turn_returns_a_problem_document(
    acme: Tenant, globex: Tenant, call_id: str, model: ConnectionCountingModel
) -> None:
    foreign_response = _say(globex, call_id)
    empty_response = acme.post(
        f"/simulations/{call_id}/turns", {"text": ""}, headers=EVENT_STREAM_HEADERS
    )
    acme.post(f"/calls/{call_id}/hangup")
    ended_response = _say(acme, call_id)

    assert (foreign_response.status_code, foreign_response.json["code"]) == (404, "not-found")
    assert empty_response.status_code == 400
    assert empty_response.json["errors"][0]["pointer"] == "/text"
    assert (ended_response.status_code, ended_response.json["code"]) == (409, "call-ended")


def test_a_failure_after_the_first_event_is_the_last_event(
    acme: Tenant, call_id: str, model: ConnectionCountingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_unavailable(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(simulated_calls, "build_reply", raise_unavailable)

    response = _say(acme, call_id)

    name, problem = _parse_events(response)[-1]
    assert (name, problem["status"], problem["code"]) == ("error", 503, "database-unavailable")
    assert problem["request_id"] == response.headers["X-Request-Id"]
    assert response.status_code == 200


def test_a_disconnect_stores_the_sent_chunks(
    acme: Tenant, call_id: str, model: ConnectionCountingModel
) -> None:
    stream = _stream_turn(acme, call_id)
    assert next(stream) == ("clause", {"text": SENTENCES[0].strip()})

    stream.close()

    texts = [turn["text"] for turn in acme.get(f"/calls/{call_id}/turns").json]
    assert texts == ["Acme.", "When do you close?", SENTENCES[0].strip()]
    assert acme.say(call_id, "Hello?")["status"] == "in_progress"


def test_a_stream_keeps_its_place_until_it_ends(
    app: Flask, acme: Tenant, call_id: str, model: ConnectionCountingModel, single_place: Admission
) -> None:
    client = app.test_client()
    stream = client.post(
        acme.url(f"/simulations/{call_id}/turns"),
        json={"text": "Hello?"},
        headers={"Authorization": f"Bearer {acme.key}", **EVENT_STREAM_HEADERS},
    )

    places_while_streaming = single_place.in_use
    refused_stream = _say(acme, call_id)
    refused_json = acme.post(f"/simulations/{call_id}/turns", {"text": "Hello?"})
    stream.get_data()
    stream.close()
    retry_response = _say(acme, call_id)

    assert places_while_streaming == 1
    for rejected_response in (refused_stream, refused_json):
        assert (rejected_response.status_code, rejected_response.json["code"]) == (429, "busy")
        assert rejected_response.json["limit"] == "busy"
        assert int(rejected_response.headers["Retry-After"]) > 0
    assert _parse_events(retry_response)[-1][0] == "reply"
    assert single_place.in_use == 0


def test_an_error_response_occupies_no_place(
    acme: Tenant, call_id: str, model: ConnectionCountingModel, single_place: Admission
) -> None:
    acme.post(f"/calls/{call_id}/hangup")

    codes = [_say(acme, call_id).json["code"] for _ in range(3)]

    assert codes == ["call-ended"] * 3
    assert single_place.in_use == 0


def test_closing_an_unread_response_frees_its_place(
    app: Flask, acme: Tenant, call_id: str, model: ConnectionCountingModel, single_place: Admission
) -> None:
    response = app.test_client().post(
        acme.url(f"/simulations/{call_id}/turns"),
        json={"text": "Hello?"},
        headers={"Authorization": f"Bearer {acme.key}", **EVENT_STREAM_HEADERS},
    )

    response.close()

    assert single_place.in_use == 0


def test_a_stream_that_cannot_be_closed_frees_its_place(
    app: Flask, single_place: Admission
) -> None:
    def fail_at_the_end() -> Iterator[bytes]:
        try:
            yield b"first"
            yield b"second"
        finally:
            raise DatabaseUnavailable

    with app.test_request_context(), admission.calling_out() as hold_while_streamed:
        response = hold_while_streamed(Response(fail_at_the_end()))
    next(response.iter_encoded())

    with pytest.raises(DatabaseUnavailable):
        response.close()

    assert single_place.in_use == 0


def test_a_transfer_action_contains_no_number(app: Flask, acme: Tenant, call_id: str) -> None:
    transfer = ToolCall("transfer", '{"target": "front desk"}')
    _install_model(ConnectionCountingModel("One moment, please. ", transfer))

    reply = _parse_events(_say(acme, call_id, "The front desk, please."))[-1][1]

    assert (reply["actions"], reply["status"]) == (
        [{"kind": "transfer", "target": "front desk"}],
        "transferring",
    )
