"""Calls: listed, filtered, ended; their turns and what a model's failure does to them."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from flask import Flask
from sqlalchemy import event

from tests.support.factories import Factory, Tenant, fresh_number
from vca.conversation.llm import ModelClient, ModelError, ModelRequest
from vca.conversation.llm.models import Models
from vca.kit import db
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.calls.core import call_services


class Model(ModelClient):
    """A model that says what it is told, or fails."""

    deterministic: ClassVar[bool] = True

    def __init__(self, says: str = "Yes.", fails: ModelError | None = None) -> None:
        self.says, self.fails = says, fails
        self.requests: list[ModelRequest] = []
        self.open_transactions: list[int] = []

    def stream(self, request: ModelRequest) -> Generator[str, None, None]:
        self.requests.append(request)
        self.open_transactions.append(db.current_database().engine.pool.checkedout())  # type: ignore[attr-defined]
        if self.fails is not None:
            raise self.fails
        yield self.says


def _use(app: Flask, model: Model) -> Model:
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(model))
    )
    return model


def _events(tenant: Tenant, call_id: str) -> list[str]:
    return [item["event_type"] for item in tenant.get(f"/calls/{call_id}/events").json]


@pytest.fixture
def number(acme: Tenant) -> str:
    """Acme's number, answered by its only profile."""
    acme.profile(greeting="Acme.", system_prompt="Be brief.")
    found: str = acme.number()["did_number"]
    return found


def test_the_model_hears_the_whole_call_and_nothing_is_open_meanwhile(
    app: Flask, acme: Tenant, number: str
) -> None:
    model = _use(app, Model("It is nine."))
    call = acme.simulate(number, **{"from": "+14155550123"})["call_id"]

    acme.say(call, "What time is it?")
    acme.say(call, "Thank you.")

    said = [(line.speaker, line.text) for line in model.requests[-1].messages]
    assert said == [
        ("agent", "Acme."),
        ("caller", "What time is it?"),
        ("agent", "It is nine."),
        ("caller", "Thank you."),
    ]
    assert "Be brief." in model.requests[-1].system
    assert model.open_transactions == [0, 0]


def test_a_model_that_fails_ends_the_call_politely(app: Flask, acme: Tenant, number: str) -> None:
    acme.patch("/settings", {"sentences": {"fallback": "Please call again."}})
    _use(app, Model(fails=ModelError("away", failure="unavailable")))
    call = acme.simulate(number)["call_id"]

    heard = acme.say(call, "Hello?")

    assert (heard["reply"], heard["status"]) == ("Please call again.", "completed")
    assert heard["actions"] == [{"type": "hang_up"}]
    record = acme.get(f"/calls/{call}").json
    assert record["end_reason"] == "model_error"
    texts = [turn["text"] for turn in acme.get(f"/calls/{call}/turns").json]
    assert texts == ["Acme.", "Hello?", "Please call again."]


def test_a_live_call_is_hung_up_and_an_ended_one_is_409(
    acme: Tenant, number: str, carrier: FakeTelephonyAdapter
) -> None:
    call = acme.simulate(number)["call_id"]

    ended = acme.post(f"/calls/{call}/hangup")
    again = acme.post(f"/calls/{call}/hangup")
    spoken = acme.post(f"/simulations/{call}/turns", {"text": "Hello?"})

    assert (ended.json["status"], ended.json["end_reason"]) == ("completed", "api_hangup")
    assert ended.json["duration_seconds"] is not None
    assert [what for what, _ in carrier.operations if what == "hang_up"] == ["hang_up"]
    assert (again.status_code, again.json["code"]) == (409, "call-ended")
    assert (spoken.status_code, spoken.json["code"]) == (409, "call-ended")


def test_turn_and_duration_limits_end_a_call(app: Flask, acme: Tenant) -> None:
    acme.profile(max_turns=1)
    to = acme.number()["did_number"]
    _use(app, Model("Fine."))
    call = acme.simulate(to)["call_id"]

    first = acme.say(call, "One.")
    second = acme.say(call, "Two.")

    assert first["status"] == "in_progress"
    assert second["status"] == "completed"
    assert acme.get(f"/calls/{call}").json["end_reason"] == "max_turns"


def test_what_the_profile_leaves_open_has_a_limit_all_the_same(
    app: Flask, acme: Tenant, number: str
) -> None:
    model = _use(app, Model("Fine."))
    call = acme.simulate(number)["call_id"]
    acme.say(call, "One.")

    assert model.requests[0].profile.max_turns > 0
    assert model.requests[0].profile.max_duration_seconds > 0


def test_latency_is_summed_up_when_the_call_is_over(app: Flask, acme: Tenant, number: str) -> None:
    _use(app, Model("Fine."))
    call = acme.simulate(number)["call_id"]
    acme.say(call, "One.")
    acme.post(f"/calls/{call}/hangup")

    latency = acme.get(f"/calls/{call}").json["latency"]

    assert set(latency) == {"model", "model_first_token", "database", "total"}
    assert set(latency["model"]) == {"p50_ms", "p95_ms", "max_ms"}


def test_calls_are_listed_newest_first_and_filtered(acme: Tenant, number: str) -> None:
    calls = [
        acme.simulate(number, **{"from": caller})["call_id"]
        for caller in ("+14155550123", "+14155550124", "+14155550125")
    ]
    acme.post(f"/calls/{calls[0]}/hangup")

    def ids(**query: Any) -> list[str]:
        return [call["id"] for call in acme.get("/calls", **query).json]

    assert ids() == calls[::-1]
    assert ids(limit=2) == [calls[2], calls[1]]
    assert ids(status="completed") == [calls[0]]
    assert ids(end_reason="api_hangup") == [calls[0]]
    assert ids(caller_number="+14155550124") == [calls[1]]
    assert ids(simulated="false") == []
    started = acme.get(f"/calls/{calls[1]}").json["started_at"]
    assert ids(started_after=started) == [calls[2]]
    assert ids(started_before=started) == [calls[0]]
    assert acme.get("/calls", colour="red").status_code == 400


def test_a_real_call_cannot_be_spoken_into_as_a_simulation(
    acme: Tenant, world: Factory, number: str
) -> None:
    call = acme.simulate(number)["call_id"]
    world.sql(acme, "UPDATE calls SET simulated = false")

    assert acme.post(f"/simulations/{call}/turns", {"text": "Hello"}).status_code == 404


def test_a_call_outlives_its_number_and_its_profile(acme: Tenant, number: str) -> None:
    call = acme.simulate(number)["call_id"]
    acme.post(f"/calls/{call}/hangup")
    before = acme.get(f"/calls/{call}").json

    for resource in ("phone-numbers", "ai-profiles"):
        for item in acme.get(f"/{resource}").json:
            assert acme.delete(f"/{resource}/{item['id']}").status_code == 204

    assert acme.get(f"/calls/{call}").json == before
    assert _events(acme, call) == ["RINGING", "ANSWERED", "ENDED"]


def test_a_turn_sends_at_most_a_dozen_statements(app: Flask, acme: Tenant, number: str) -> None:
    """The caller waits for these statements; more of them should be a decision."""
    _use(app, Model("Fine."))
    call = acme.simulate(number)["call_id"]
    sent: list[str] = []
    engine = db.current_database().engine

    def note(_c: Any, _cur: Any, statement: str, *_: Any) -> None:
        sent.append(statement.split()[0])

    event.listen(engine, "before_cursor_execute", note)
    acme.say(call, "Hello.")
    event.remove(engine, "before_cursor_execute", note)

    assert len(sent) <= 12, sent


def test_an_unknown_number_is_not_simulated(acme: Tenant, globex: Tenant) -> None:
    foreign = globex.number()["did_number"]

    unknown = acme.post("/simulations", {"to": fresh_number()})
    others = acme.post("/simulations", {"to": foreign})

    assert unknown.status_code == others.status_code == 404
    assert unknown.json["detail"] == others.json["detail"]


def _statuses(tenant: Tenant) -> dict[str, str]:
    return {call["id"]: call["recording"]["status"] for call in tenant.get("/calls").json}


def test_the_status_of_a_recording_is_told_in_lists_and_by_itself(
    acme: Tenant, world: Factory, number: str
) -> None:
    plain, recorded = (acme.simulate(number)["call_id"] for _ in range(2))
    taped = f"UPDATE calls SET recording_status = 'recording' WHERE id = '{recorded}'"
    world.sql(acme, taped)
    assert _statuses(acme) == {plain: "none", recorded: "recording"}

    acme.post(f"/calls/{recorded}/hangup")

    for status in ("pending", "stored", "failed", "deleted"):
        world.sql(acme, f"UPDATE recordings SET status = '{status}'")
        assert _statuses(acme) == {plain: "none", recorded: status}
        assert acme.get(f"/calls/{recorded}").json["recording"] == {"status": status}
    assert acme.get(f"/calls/{plain}").json["recording"] == {"status": "none"}


def test_recordings_of_a_page_are_looked_up_at_once(
    acme: Tenant, world: Factory, number: str
) -> None:
    for _ in range(3):
        acme.simulate(number)
    plain = _statements(acme)
    world.sql(acme, "UPDATE calls SET recording_status = 'recording'")

    assert _statements(acme) == plain + 1


def _statements(tenant: Tenant) -> int:
    """How many the list of calls takes."""
    sent: list[str] = []
    engine = db.current_database().engine

    def note(_c: Any, _cur: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    tenant.get("/calls")
    event.remove(engine, "before_cursor_execute", note)
    return len(sent)


def test_turns_tell_what_they_cost_and_what_the_agent_did(acme: Tenant) -> None:
    acme.profile(tools=["end_call"], end_phrases=["goodbye"])
    call = acme.simulate(acme.number()["did_number"])["call_id"]
    acme.say(call, "I need an appointment.")
    acme.say(call, "Goodbye.")

    turns = acme.get(f"/calls/{call}/turns").json

    spent = [turn["tokens"] for turn in turns]
    assert spent[0] == spent[1] == spent[3] == spent[4] == {}
    assert set(spent[2]) == {"input", "output"}
    assert acme.get(f"/calls/{call}").json["tokens"] == sum(spent[2].values()) > 0
    assert [turn["actions"] for turn in turns[:4]] == [[]] * 4
    assert turns[4]["actions"] == [{"kind": "hang_up", "end_reason": "agent_hangup"}]


def test_a_transfer_is_told_without_its_number(acme: Tenant, app: Flask) -> None:
    target = {"number": "+442079460123", "description": "People."}
    acme.profile(tools=["transfer"], transfer_targets={"front desk": target})
    call = acme.simulate(acme.number()["did_number"])["call_id"]
    assert acme.get(f"/calls/{call}").json["transfer"] is None

    acme.say(call, "Please connect me with the front desk.")

    told = acme.get(f"/calls/{call}")
    listed = acme.get("/calls")
    assert told.json["transfer"]["target"] == "front desk"
    assert told.json["transfer"]["status"] == "dialling"
    assert listed.json[0]["transfer"] == told.json["transfer"]
    assert "+442079460123" not in told.text + listed.text
