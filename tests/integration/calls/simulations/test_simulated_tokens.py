"""The quota of model tokens that simulations, replays and their analyses use in a day."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.fakes.models import SequenceModel, StepModel
from tests.integration.calls.conftest import use_model
from tests.support.api import ApiResponse
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Platform, Tenant
from tests.support.services import app_services, use_settings
from tests.support.usage import record_usage, reported_usage, total_quantities
from vca.conversation.llm import ModelError, ToolCall
from vca.conversation.types import Tokens
from vca.kit import clock, json
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import simulated_tokens
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.simulation import simulated_calls
from vca.tenant.calls.turns import post_call_analysis

ScriptModel = Callable[..., SequenceModel]
TURN_TOKENS = Tokens(90, 10)


@pytest.fixture
def number(acme: Tenant) -> str:
    """Return a number of acme that an agent answers, whose model uses 100 tokens for a turn."""
    use_model(StepModel("At nine.", tokens=TURN_TOKENS))
    acme.profile(greeting="Acme here.")
    number: str = acme.number()["did_number"]
    return number


def set_quota(platform: Platform, tenant: Tenant, tokens: int | None) -> None:
    body = {"limits": {"simulated_tokens_per_day": tokens}}
    assert platform.api.patch(tenant.url("/settings"), body).status_code == 200


def take_turn(tenant: Tenant, call_id: str) -> ApiResponse:
    return tenant.post(f"/simulations/{call_id}/turns", {"text": "When do you open?"})


def assert_refused(response: ApiResponse) -> None:
    assert (response.status_code, response.json["code"]) == (409, "limit-reached"), response.text
    assert response.json["limit"] == "simulated_tokens_per_day"


def test_simulations_of_a_free_model_do_not_go_on_without_end(
    acme: Tenant, globex: Tenant, platform: Platform, number: str
) -> None:
    platform.api.patch(acme.url("/settings"), {"limits": {"tokens_per_day": 1}, "spend_cap": 1})
    set_quota(platform, acme, 300)
    call_id = acme.simulate(number)["call_id"]

    responses = [take_turn(acme, call_id) for _ in range(12)]

    assert [response.status_code for response in responses] == [200] * 3 + [409] * 9
    assert_refused(responses[-1])
    assert_refused(acme.post("/simulations", {"to": number}))
    streamed = acme.post(
        f"/simulations/{call_id}/turns", {"text": "Hi"}, headers={"Accept": "text/event-stream"}
    )
    assert_refused(streamed)
    assert acme.post(f"/calls/{call_id}/hangup").status_code == 200
    assert reported_usage(acme, "simulated_tokens") == (300, 0, 0)
    globex.profile()
    assert globex.simulate(globex.number()["did_number"])["status"] == "in_progress"


def test_the_default_is_two_hundred_thousand_tokens(acme: Tenant, number: str) -> None:
    assert acme.get("/settings").json["limits"]["simulated_tokens_per_day"] == 200_000
    record_usage(acme, 199_950, kind="simulated_tokens")
    call_id = acme.simulate(number)["call_id"]

    assert take_turn(acme, call_id).status_code == 200  # begun below the quota, so recorded
    assert_refused(take_turn(acme, call_id))
    assert total_quantities(acme) == {"simulated_tokens": 200_050}


def test_the_default_comes_from_a_setting(acme: Tenant, number: str) -> None:
    use_settings(simulated_tokens_per_day=0)

    assert_refused(acme.post("/simulations", {"to": number}))


def test_simulated_tokens_count_towards_no_other_limit(
    acme: Tenant, platform: Platform, number: str, carrier_client: CarrierClient
) -> None:
    call_id = acme.simulate(number)["call_id"]
    take_turn(acme, call_id)
    platform.api.patch(acme.url("/settings"), {"limits": {"tokens_per_day": 50}})

    carrier_client.ring(number, "real-1")

    [real_call] = acme.get("/calls", simulated="false").json
    assert real_call["status"] == "in_progress"
    assert acme.get("/usage").json["amount"] == 0


def test_a_real_call_ignores_the_quota(
    acme: Tenant, platform: Platform, number: str, carrier_client: CarrierClient
) -> None:
    set_quota(platform, acme, 0)

    state = carrier_client.ring(number, "real-1")["state"]
    carrier_client.say("real-1", state, "When do you open?")
    carrier_client.send_status("real-1", "completed", state=state)

    quantities = total_quantities(acme)
    assert (quantities["model_input_tokens"], quantities["model_output_tokens"]) == (90, 10)
    assert "simulated_tokens" not in quantities


def test_a_replay_is_refused_and_stops_when_the_tokens_are_used_up(
    acme: Tenant, platform: Platform, number: str
) -> None:
    call_id = acme.simulate(number)["call_id"]
    for _ in range(3):
        take_turn(acme, call_id)
    acme.post(f"/calls/{call_id}/hangup")
    profile_id = acme.get("/ai-profiles").json[0]["id"]
    set_quota(platform, acme, 450)

    stopped = acme.post(f"/calls/{call_id}/replay", {"ai_profile_id": profile_id})
    rejected_response = acme.post(f"/calls/{call_id}/replay", {"ai_profile_id": profile_id})

    assert stopped.status_code == 200
    assert (stopped.json["stopped_early"], stopped.json["complete"]) == ("out_of_tokens", False)
    replies = [turn["replay"] for turn in stopped.json["turns"]]
    assert [reply is not None for reply in replies] == [True, True, False]
    assert_refused(rejected_response)
    assert total_quantities(acme) == {"simulated_tokens": 500}
    assert not [call for call in acme.get("/calls").json if call["status"] == "in_progress"]


@pytest.mark.parametrize("quota", [200_000, 250])
def test_the_tokens_of_an_analysis_count_and_need_the_quota(
    acme: Tenant, platform: Platform, number: str, script_model: ScriptModel, quota: int
) -> None:
    arguments = {"summary": "Asked.", "outcome": "resolved", "data": None}
    set_quota(platform, acme, quota)
    script_model(
        ["At nine."],
        ["At nine."],
        ["At nine."],
        [ToolCall("note_call", json.dumps(arguments).decode())],
        tokens=TURN_TOKENS,
    )
    call_id = acme.simulate(number)["call_id"]
    for _ in range(3):
        assert take_turn(acme, call_id).status_code == 200
    acme.post(f"/calls/{call_id}/hangup")

    post_call_analysis.analyse_call(CallRef(acme.ref, UUID(call_id)), services=app_services())

    analysis = acme.get(f"/calls/{call_id}").json["analysis"]
    if quota == 250:
        assert analysis == {"status": "none", "reason": "no_model"}
        assert total_quantities(acme) == {"simulated_tokens": 300}
    else:
        assert analysis == {"status": "done", "reason": None}
        assert total_quantities(acme) == {"simulated_tokens": 400}


def test_the_estimated_tokens_of_a_stream_that_is_closed_early_count(
    acme: Tenant, number: str
) -> None:
    use_model(StepModel("We open at nine. ", "We close at six. ", tokens=TURN_TOKENS))
    call_id = acme.simulate(number)["call_id"]
    turn = simulated_calls.stream_turn(
        acme.ref,
        carriers=app_services().carriers,
        services=app_services(),
        call_id=UUID(call_id),
        text="When do you open?",
    )
    next(turn)
    turn.close()

    assert total_quantities(acme)["simulated_tokens"] > 10


def test_a_turn_whose_model_fails_ends_the_call_and_uses_nothing(
    acme: Tenant, number: str, script_model: ScriptModel
) -> None:
    script_model([ModelError("away", failure="unavailable")])
    call_id = acme.simulate(number)["call_id"]

    response = take_turn(acme, call_id)

    assert response.json["end_reason"] == "model_error"
    assert total_quantities(acme) == {}


def test_the_estimated_tokens_of_a_useless_answer_count(
    acme: Tenant, number: str, script_model: ScriptModel
) -> None:
    script_model(["- - ", "- - ", ModelError("away", failure="unavailable")])
    call_id = acme.simulate(number)["call_id"]

    response = take_turn(acme, call_id)

    assert response.json["end_reason"] == "model_error"
    assert total_quantities(acme)["simulated_tokens"] > 10


@pytest.mark.parametrize(
    ("time_zone", "used_at", "allowed"),
    [
        ("UTC", datetime(2030, 5, 9, 23, 59, tzinfo=UTC), True),
        ("UTC", datetime(2030, 5, 10, 0, 0, tzinfo=UTC), False),
        ("Asia/Tokyo", datetime(2030, 5, 9, 14, 59, tzinfo=UTC), True),
        ("Asia/Tokyo", datetime(2030, 5, 9, 15, 0, tzinfo=UTC), False),
        ("America/New_York", datetime(2030, 5, 9, 4, 30, tzinfo=UTC), False),
    ],
)
def test_the_day_is_the_tenants(
    acme: Tenant, platform: Platform, time_zone: str, used_at: datetime, allowed: bool
) -> None:
    acme.patch("/settings", {"time_zone": time_zone})
    set_quota(platform, acme, 100)
    record_usage(acme, 100, kind="simulated_tokens", used_at=used_at)
    hour = 2 if time_zone == "America/New_York" else 8

    with tenant_session(acme.ref, database=app_services().database) as session:
        now = datetime(2030, 5, 10, hour, 0, tzinfo=UTC)
        assert (
            simulated_tokens.has_tokens_left(session, now=now, services=app_services()) is allowed
        )


def test_changes_of_the_time_zone_give_no_more_than_two_quotas_in_a_day(
    acme: Tenant, platform: Platform
) -> None:
    set_quota(platform, acme, 100)
    now = clock.now()
    quotas_used = 0

    for hours in range(24):
        later = now + timedelta(hours=hours)
        offset = -((later.hour + 12) % 24 - 12)  # the zone in which a day has just begun
        # In the names of these zones, the sign is reversed.
        acme.patch("/settings", {"time_zone": f"Etc/GMT{-offset:+d}" if offset else "UTC"})
        with tenant_session(acme.ref, database=app_services().database) as session:
            allowed = simulated_tokens.has_tokens_left(session, now=later, services=app_services())
        if allowed:
            record_usage(acme, 100, kind="simulated_tokens", used_at=later)
            quotas_used += 1

    assert quotas_used == 2


def test_only_the_platform_sets_the_quota(acme: Tenant, platform: Platform) -> None:
    body = {"limits": {"simulated_tokens_per_day": 10**9}}

    response = acme.patch("/settings", body)

    assert (response.status_code, response.json["code"]) == (403, "platform-key-needed")
    set_quota(platform, acme, 5)
    assert acme.get("/settings").json["limits"]["simulated_tokens_per_day"] == 5
    set_quota(platform, acme, None)
    assert acme.get("/settings").json["limits"]["simulated_tokens_per_day"] == 200_000
