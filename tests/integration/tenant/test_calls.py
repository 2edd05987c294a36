"""Calls: listing, hanging up, limits, turns, recordings, and failures of the model."""

from typing import Any, ClassVar

import pytest
from flask import Flask
from sqlalchemy import event

from tests.fakes.models import Answer, streams_answer
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.recordings import checked_out_connections
from tests.support.services import app_services, use_services
from vca.conversation.llm import AnswerSummary, ModelClient, ModelError, ModelRequest
from vca.conversation.llm.models import Models
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter


class OneReplyModel(ModelClient):
    """A model that always gives the same reply, or always fails."""

    deterministic: ClassVar[bool] = True

    def __init__(self, reply: str = "Yes.", error: ModelError | None = None) -> None:
        self.reply, self.error = reply, error
        self.requests: list[ModelRequest] = []
        self.open_transactions: list[int] = []

    @streams_answer
    def stream(self, request: ModelRequest) -> Answer:
        self.requests.append(request)
        self.open_transactions.append(checked_out_connections())
        if self.error is not None:
            raise self.error
        yield self.reply
        return AnswerSummary()


def _use_model(app: Flask, model: OneReplyModel) -> OneReplyModel:
    use_services(models=Models(model))
    return model


def _event_types(tenant: Tenant, call_id: str) -> list[str]:
    return [item["event_type"] for item in tenant.get(f"/calls/{call_id}/events").json]


@pytest.fixture
def number(acme: Tenant) -> str:
    """Return Acme's number, which its only profile answers."""
    acme.profile(greeting="Acme.", system_prompt="Be brief.")
    did_number: str = acme.number()["did_number"]
    return did_number


def test_the_model_receives_the_transcript_outside_a_transaction(
    app: Flask, acme: Tenant, number: str
) -> None:
    model = _use_model(app, OneReplyModel("It is nine."))
    call_id = acme.simulate(number, **{"from": "+14155550123"})["call_id"]

    acme.say(call_id, "What time is it?")
    acme.say(call_id, "Thank you.")

    transcript = [(message.speaker, message.text) for message in model.requests[-1].messages]
    assert transcript == [
        ("agent", "Acme."),
        ("caller", "What time is it?"),
        ("agent", "It is nine."),
        ("caller", "Thank you."),
    ]
    assert "Be brief." in model.requests[-1].system
    assert model.open_transactions == [0, 0]


def test_a_failing_model_ends_the_call_with_the_fallback_sentence(
    app: Flask, acme: Tenant, number: str
) -> None:
    acme.patch("/settings", {"sentences": {"fallback": "Please call again."}})
    _use_model(app, OneReplyModel(error=ModelError("away", failure="unavailable")))
    call_id = acme.simulate(number)["call_id"]

    turn_response = acme.say(call_id, "Hello?")

    assert (turn_response["reply"], turn_response["status"]) == ("Please call again.", "completed")
    assert turn_response["actions"] == [{"kind": "hang_up", "end_reason": "model_error"}]
    record = acme.get(f"/calls/{call_id}").json
    assert record["end_reason"] == "model_error"
    texts = [turn["text"] for turn in acme.get(f"/calls/{call_id}/turns").json]
    assert texts == ["Acme.", "Hello?", "Please call again."]


def test_a_hang_up_ends_a_live_call_and_returns_409_for_an_ended_one(
    acme: Tenant, number: str, carrier: FakeTelephonyAdapter
) -> None:
    call_id = acme.simulate(number)["call_id"]

    response = acme.post(f"/calls/{call_id}/hangup")
    repeated = acme.post(f"/calls/{call_id}/hangup")
    turn_response = acme.post(f"/simulations/{call_id}/turns", {"text": "Hello?"})

    assert (response.json["status"], response.json["end_reason"]) == ("completed", "api_hangup")
    assert response.json["duration_seconds"] is not None
    assert [operation for operation, _ in carrier.operations if operation == "hang_up"] == [
        "hang_up"
    ]
    assert (repeated.status_code, repeated.json["code"]) == (409, "call-ended")
    assert (turn_response.status_code, turn_response.json["code"]) == (409, "call-ended")


def test_the_turn_limit_ends_a_call(app: Flask, acme: Tenant) -> None:
    acme.profile(max_turns=1)
    to = acme.number()["did_number"]
    _use_model(app, OneReplyModel("Fine."))
    call_id = acme.simulate(to)["call_id"]

    first = acme.say(call_id, "One.")
    second = acme.say(call_id, "Two.")

    assert first["status"] == "in_progress"
    assert second["status"] == "completed"
    assert acme.get(f"/calls/{call_id}").json["end_reason"] == "max_turns"


def test_the_duration_limit_ends_a_call(app: Flask, world: Factory, acme: Tenant) -> None:
    acme.profile(max_duration_seconds=600)
    to = acme.number()["did_number"]
    _use_model(app, OneReplyModel("Fine."))
    call_id = acme.simulate(to)["call_id"]

    world.sql(acme, "UPDATE calls SET answered_at = now() - interval '540 seconds'")
    before_limit = acme.say(call_id, "One.")
    world.sql(acme, "UPDATE calls SET answered_at = now() - interval '600 seconds'")
    after_limit = acme.say(call_id, "Two.")

    assert before_limit["status"] == "in_progress"
    assert after_limit["status"] == "completed"
    assert acme.get(f"/calls/{call_id}").json["end_reason"] == "max_duration"


def test_a_profile_without_limits_has_default_limits(app: Flask, acme: Tenant, number: str) -> None:
    model = _use_model(app, OneReplyModel("Fine."))
    call_id = acme.simulate(number)["call_id"]
    acme.say(call_id, "One.")

    assert model.requests[0].profile.max_turns > 0
    assert model.requests[0].profile.max_duration_seconds > 0


def test_an_ended_call_has_latency_percentiles(app: Flask, acme: Tenant, number: str) -> None:
    _use_model(app, OneReplyModel("Fine."))
    call_id = acme.simulate(number)["call_id"]
    acme.say(call_id, "One.")
    acme.post(f"/calls/{call_id}/hangup")

    latency = acme.get(f"/calls/{call_id}").json["latency"]

    assert set(latency) == {"model", "model_first_token", "database", "total"}
    assert set(latency["model"]) == {"p50_ms", "p95_ms", "max_ms"}


def test_calls_are_listed_newest_first_and_filtered(acme: Tenant, number: str) -> None:
    call_ids = [
        acme.simulate(number, **{"from": caller})["call_id"]
        for caller in ("+14155550123", "+14155550124", "+14155550125")
    ]
    acme.post(f"/calls/{call_ids[0]}/hangup")

    def list_ids(**query: Any) -> list[str]:
        return [call["id"] for call in acme.get("/calls", **query).json]

    assert list_ids() == call_ids[::-1]
    assert list_ids(limit=2) == [call_ids[2], call_ids[1]]
    assert list_ids(status="completed") == [call_ids[0]]
    assert list_ids(end_reason="api_hangup") == [call_ids[0]]
    assert list_ids(caller_number="+14155550124") == [call_ids[1]]
    assert list_ids(simulated="false") == []
    started_at = acme.get(f"/calls/{call_ids[1]}").json["started_at"]
    assert list_ids(started_after=started_at) == [call_ids[2]]
    assert list_ids(started_before=started_at) == [call_ids[0]]
    assert acme.get("/calls", colour="red").status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "caller_number=+14155550123",  # the + means a space
        "caller_number=%2014155550123",
        "caller_number=14155550123",
        "caller_number=4155550123",
        "caller_number=",
        "caller_number=%2B1415555012x",
        "caller_number=anonymous",
    ],
)
def test_a_filter_by_something_else_than_a_number_is_refused(acme: Tenant, query: str) -> None:
    response = acme.get(f"/calls?{query}")

    assert response.status_code == 400
    [error] = response.json["errors"]
    assert (error["in"], error["pointer"]) == ("query", "/caller_number")
    assert "Not a valid E.164 number" in error["detail"]
    assert ("write the + as %2B" in error["detail"]) is ("415555012" in query and "x" not in query)


@pytest.mark.parametrize(
    ("path", "name"), [("/calls", "caller_number"), ("/phone-numbers", "did_number")]
)
def test_a_filter_by_a_number_that_nobody_has_finds_nothing(
    acme: Tenant, path: str, name: str
) -> None:
    for number in ("+14155559999", "+2101234567"):
        assert acme.get(path, **{name: number}).json == []


def test_the_filters_of_the_registry_refuse_a_lost_plus(acme: Tenant, platform: Platform) -> None:
    for path in (acme.url("/phone-numbers"), "/api/dids"):
        response = platform.api.get(f"{path}?did_number=+14155550123")

        assert response.status_code == 400
        assert "write the + as %2B" in response.json["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("2026-11-30", "The offset from UTC is missing"),
        ("2026-11-30T09:00", "The offset from UTC is missing"),
        ("2026-11-30T09:00:00", "The offset from UTC is missing"),
        ("2026-11-30T09:00:00.5", "The offset from UTC is missing"),
        ("2026-11-30T09:00:00+01:00", "write the + as %2B"),  # not encoded
        ("yesterday", "Use a date, a time and an offset"),
        ("2026-13-30T09:00:00Z", "Use a date, a time and an offset"),
        ("0001-01-01T00:00:00Z", "Use a date, a time and an offset"),
        ("", "Use a date, a time and an offset"),
    ],
)
def test_an_unusable_time_is_refused_with_a_hint(acme: Tenant, text: str, hint: str) -> None:
    response = acme.get(f"/calls?started_after={text}")

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == "/started_after"
    assert hint in response.json["errors"][0]["detail"]


def test_times_with_an_offset_are_accepted(acme: Tenant) -> None:
    for text in (
        "2026-11-30T09:00:00Z",
        "2026-11-30T09:00:00%2B01:00",
        "2026-11-30t09:00:00-01:00",
    ):
        assert acme.get(f"/calls?started_after={text}").status_code == 200


def test_a_simulated_turn_of_a_real_call_returns_404(
    acme: Tenant, world: Factory, number: str
) -> None:
    call_id = acme.simulate(number)["call_id"]
    world.sql(acme, "UPDATE calls SET simulated = false")

    assert acme.post(f"/simulations/{call_id}/turns", {"text": "Hello"}).status_code == 404


def test_a_call_survives_the_deletion_of_its_number_and_profile(acme: Tenant, number: str) -> None:
    call_id = acme.simulate(number)["call_id"]
    acme.post(f"/calls/{call_id}/hangup")
    before = acme.get(f"/calls/{call_id}").json

    for resource in ("phone-numbers", "ai-profiles"):
        for item in acme.get(f"/{resource}").json:
            assert acme.delete(f"/{resource}/{item['id']}").status_code == 204

    assert acme.get(f"/calls/{call_id}").json == before
    assert _event_types(acme, call_id) == ["RINGING", "ANSWERED", "ENDED"]


def test_a_turn_sends_at_most_a_dozen_statements(app: Flask, acme: Tenant, number: str) -> None:
    """The caller waits for these statements, so a higher number needs a reason."""
    _use_model(app, OneReplyModel("Fine."))
    call_id = acme.simulate(number)["call_id"]
    statements: list[str] = []
    engine = app_services().database.engine

    def record_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement.split()[0])

    event.listen(engine, "before_cursor_execute", record_statement)
    acme.say(call_id, "Hello.")
    event.remove(engine, "before_cursor_execute", record_statement)

    assert len(statements) <= 12, statements


def test_simulating_an_unknown_or_foreign_number_returns_404(acme: Tenant, globex: Tenant) -> None:
    foreign_number = globex.number()["did_number"]

    unknown = acme.post("/simulations", {"to": fresh_number()})
    foreign = acme.post("/simulations", {"to": foreign_number})

    assert unknown.status_code == foreign.status_code == 404
    assert unknown.json["detail"] == foreign.json["detail"]


def _recording_statuses(tenant: Tenant) -> dict[str, str]:
    return {call["id"]: call["recording"]["status"] for call in tenant.get("/calls").json}


def test_the_list_and_the_call_show_the_status_of_the_recording(
    acme: Tenant, world: Factory, number: str
) -> None:
    plain_id, recorded_id = (acme.simulate(number)["call_id"] for _ in range(2))
    set_status = f"UPDATE calls SET recording_status = 'recording' WHERE id = '{recorded_id}'"
    world.sql(acme, set_status)
    assert _recording_statuses(acme) == {plain_id: "none", recorded_id: "recording"}

    acme.post(f"/calls/{recorded_id}/hangup")

    for status in ("pending", "stored", "failed", "deleted"):
        world.sql(acme, f"UPDATE recordings SET status = '{status}'")
        assert _recording_statuses(acme) == {plain_id: "none", recorded_id: status}
        assert acme.get(f"/calls/{recorded_id}").json["recording"] == {"status": status}
    assert acme.get(f"/calls/{plain_id}").json["recording"] == {"status": "none"}


def test_the_recordings_of_a_page_are_read_with_one_statement(
    acme: Tenant, world: Factory, number: str
) -> None:
    for _ in range(3):
        acme.simulate(number)
    statement_count = _count_list_statements(acme)
    world.sql(acme, "UPDATE calls SET recording_status = 'recording'")

    assert _count_list_statements(acme) == statement_count + 1


def _count_list_statements(tenant: Tenant) -> int:
    """List the calls and return the number of SQL statements that it takes."""
    statements: list[str] = []
    engine = app_services().database.engine

    def record_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", record_statement)
    tenant.get("/calls")
    event.remove(engine, "before_cursor_execute", record_statement)
    return len(statements)


def test_turns_contain_their_tokens_and_the_actions_of_the_agent(acme: Tenant) -> None:
    acme.profile(tools=["end_call"], end_phrases=["goodbye"])
    call_id = acme.simulate(acme.number()["did_number"])["call_id"]
    acme.say(call_id, "I need an appointment.")
    acme.say(call_id, "Goodbye.")

    turns = acme.get(f"/calls/{call_id}/turns").json

    tokens = [turn["tokens"] for turn in turns]
    assert tokens[0] == tokens[1] == tokens[3] == tokens[4] == {}
    assert set(tokens[2]) == {"input", "output"}
    assert acme.get(f"/calls/{call_id}").json["tokens"] == sum(tokens[2].values()) > 0
    assert [turn["actions"] for turn in turns[:4]] == [[]] * 4
    assert turns[4]["actions"] == [{"kind": "hang_up", "end_reason": "agent_hangup"}]


def test_a_transfer_is_shown_without_its_number(acme: Tenant, app: Flask) -> None:
    target = {"number": "+442079460123", "description": "People."}
    acme.profile(tools=["transfer"], transfer_targets={"front desk": target})
    call_id = acme.simulate(acme.number()["did_number"])["call_id"]
    assert acme.get(f"/calls/{call_id}").json["transfer"] is None

    acme.say(call_id, "Please connect me with the front desk.")

    call_response = acme.get(f"/calls/{call_id}")
    list_response = acme.get("/calls")
    assert call_response.json["transfer"]["target"] == "front desk"
    assert call_response.json["transfer"]["status"] == "dialling"
    assert list_response.json[0]["transfer"] == call_response.json["transfer"]
    assert "+442079460123" not in call_response.text + list_response.text
