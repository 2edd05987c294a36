"""A first simulated call to a tenant's number, which the AI profile answers."""

from tests.support.factories import Tenant


def test_a_simulated_call_is_answered_and_recorded(acme: Tenant) -> None:
    profile = acme.profile(role="receptionist", greeting="Acme here.", end_phrases=["goodbye"])
    number = acme.number()

    call = acme.simulate(number["did_number"])
    turn = acme.say(call["call_id"], "I am Jane, my tooth hurts.")
    last_turn = acme.say(call["call_id"], "Goodbye!")

    assert call["reply"] == "Acme here."
    assert turn["status"] == "in_progress"
    assert turn["reply"]
    assert (last_turn["status"], last_turn["end_reason"]) == ("completed", "agent_hangup")
    assert last_turn["actions"] == [{"kind": "hang_up", "end_reason": "agent_hangup"}]
    record = acme.get(f"/calls/{call['call_id']}").json
    assert record["ai_profile_id"] == profile["id"]
    assert record["end_reason"] == "agent_hangup"
    assert record["caller_id"] == "withheld"
    events = acme.get(f"/calls/{call['call_id']}/events").json
    assert [event["event_type"] for event in events] == ["RINGING", "ANSWERED", "ENDED"]
    turns = acme.get(f"/calls/{call['call_id']}/turns").json
    assert [turn["speaker"] for turn in turns] == ["agent", "caller", "agent", "caller", "agent"]
