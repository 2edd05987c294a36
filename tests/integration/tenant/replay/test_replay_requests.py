"""Tests of requests for replays: rejected ones, time limits, failures, and the command."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask

from tests.integration.tenant.replay.conftest import (
    create_replay,
    install_model,
    post_replay,
    reply_from_prompt,
    turn_texts,
)
from tests.support.admissions import calling_out_places
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services
from vca.conversation.llm import ModelRequest, ToolCall
from vca.kit import deadline, json
from vca.tenant.calls.simulation import replay as replay_service

# --- Rejected requests ---


def test_a_live_call_cannot_be_replayed(acme: Tenant, other_profile: dict[str, Any]) -> None:
    live_call_id = acme.simulate(acme.number()["did_number"])["call_id"]

    response = post_replay(acme, live_call_id, ai_profile_id=other_profile["id"])

    assert (response.status_code, response.json["code"]) == (409, "call-not-finished")


def test_a_call_without_utterances_cannot_be_replayed(
    acme: Tenant, other_profile: dict[str, Any]
) -> None:
    silent_call_id = acme.simulate(acme.number()["did_number"])["call_id"]
    acme.post(f"/calls/{silent_call_id}/hangup")

    response = post_replay(acme, silent_call_id, ai_profile_id=other_profile["id"])

    assert (response.status_code, response.json["code"]) == (409, "nothing-to-replay")


def test_the_call_profile_and_version_must_exist_in_the_tenant(
    acme: Tenant, globex: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    foreign_profile = globex.profile()

    assert post_replay(globex, call_id, ai_profile_id=foreign_profile["id"]).status_code == 404
    for body in ({"ai_profile_id": foreign_profile["id"]}, {"ai_profile_id": str(uuid4())}):
        response = post_replay(acme, call_id, **body)
        assert (response.status_code, response.json["errors"][0]["pointer"]) == (
            400,
            "/ai_profile_id",
        )
    unknown_version = post_replay(acme, call_id, ai_profile_id=other_profile["id"], version=2)
    assert unknown_version.json["errors"][0]["pointer"] == "/version"
    assert len(acme.get("/calls").json) == 1


def test_a_replay_requires_the_write_and_content_scopes(
    acme: Tenant, world: Factory, call_id: str, other_profile: dict[str, Any]
) -> None:
    for scopes in (["write"], ["content"]):
        api = world.api(world.key(acme.id, scopes=scopes))

        response = api.post(
            acme.url(f"/calls/{call_id}/replay"), {"ai_profile_id": other_profile["id"]}
        )

        assert (response.status_code, response.json["code"]) == (403, "scope-missing")


def test_a_repeated_idempotency_key_creates_one_replay(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    key, path = {"Idempotency-Key": str(uuid4())}, f"/calls/{call_id}/replay"
    body = {"ai_profile_id": other_profile["id"]}

    first, repeated = (acme.post(path, body, headers=dict(key)) for _ in range(2))

    assert first.json == repeated.json
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert len(acme.get("/calls").json) == 2


def test_a_replay_without_a_free_place_returns_429(
    app: Flask, acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    with calling_out_places(app, 1) as calling_out, calling_out.place("another tenant"):
        response = post_replay(acme, call_id, ai_profile_id=other_profile["id"])

    assert (response.status_code, response.json["code"]) == (429, "busy")


# --- Time limit and failures ---


def test_a_replay_stops_before_a_turn_that_could_exceed_the_deadline(
    acme: Tenant, call_id: str, other_profile: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    remaining_times = iter((100.0, 100.0, 5.0))
    monkeypatch.setattr(
        replay_service, "deadline", SimpleNamespace(remaining_s=lambda: next(remaining_times))
    )

    replay = create_replay(acme, call_id, other_profile)

    assert turn_texts(replay, "replay") == ["Two appointment.", "Two nine.", None]
    assert (replay["complete"], replay["stopped_early"]) == (False, "out_of_time")
    assert replay["replay"]["end_reason"] == "api_hangup"


def test_a_replay_has_more_time_than_other_requests(
    acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    remaining_times: list[float | None] = []

    def record_remaining_time(request: ModelRequest) -> tuple[str | ToolCall, ...]:
        remaining_times.append(deadline.remaining_s())
        return reply_from_prompt(request)

    install_model(record_remaining_time)
    create_replay(acme, call_id, other_profile)

    assert remaining_times[0] is not None
    assert remaining_times[0] > 60


def test_a_failed_replay_leaves_no_open_call(
    acme: Tenant, call_id: str, other_profile: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_service, "call_types", SimpleNamespace(collect_turn=lambda _: 1 / 0))

    with pytest.raises(ZeroDivisionError):
        replay_service.replay_call(
            acme.ref,
            carriers=app_services().carriers,
            services=app_services(),
            call_id=UUID(call_id),
            ai_profile_id=UUID(other_profile["id"]),
        )

    assert [call["status"] for call in acme.get("/calls").json] == ["completed"] * 2


# --- The command ---


def test_the_command_prints_a_replay_as_json_and_as_text(
    app: Flask, acme: Tenant, call_id: str, other_profile: dict[str, Any]
) -> None:
    command = ["calls", "replay", acme.id, call_id, "--profile", other_profile["id"]]

    json_result = app.test_cli_runner().invoke(args=[*command, "--json"])
    text_result = app.test_cli_runner().invoke(args=[*command, "--version", "1"])
    unknown_version = app.test_cli_runner().invoke(args=[*command, "--version", "7"])

    assert json_result.exit_code == text_result.exit_code == 0, (
        json_result.output + text_result.output
    )
    assert turn_texts(json.loads(json_result.stdout), "replay") == [
        "Two appointment.",
        "Two nine.",
        "Two you.",
    ]
    for line in ("I need an appointment.", "One appointment.", "Two appointment.", "api_hangup"):
        assert line in text_result.stdout
    command[2] = str(uuid4())
    assert "There is no such resource." in app.test_cli_runner().invoke(args=command).output
    assert unknown_version.exit_code == 1
    assert "version: The AI profile has no such version." in unknown_version.output
