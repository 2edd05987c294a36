"""Calls through Twilio's webhooks: from ring to hang-up, doubled, shuffled, forged."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from flask import Flask

from tests.fakes.carriers.twilio.call import BASE_PATH, CALLER, TwilioCall, send
from tests.fakes.carriers.twilio.connected_twilio import (
    ACCOUNT_LOGIN,
    OTHER_LOGIN,
    ConnectedTwilio,
    connected_twilio,
)
from tests.fakes.carriers.twilio.twiml import TwimlDocument
from tests.fakes.carriers.twilio.webhooks import inbound_form, outbound_form, signed_request
from tests.fakes.hostile_model import transfer
from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord, use_model
from tests.support.api import Api
from tests.support.factories import Factory, Tenant, fresh_number
from tests.unit.telephony.test_twilio_webhooks import FORGERIES, Forgery
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.types import CarrierRequest
from vca.tenant.calls.carrier_webhooks import polled_turn

Says = Callable[..., SequenceModel]
AUDIO = b"RIFF of a call"
NIGHT = {"weekly": {}, "closed_action": "voicemail"}


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[ConnectedTwilio]:
    """Twilio is the deployment's carrier."""
    with connected_twilio() as made:
        providers.set_current_carriers(providers.Carriers(settings)).register(made.adapter)
        yield made


@pytest.fixture
def sales_number() -> str:
    """Whom the agent may connect callers with."""
    return fresh_number()


@pytest.fixture
def number(acme: Tenant, twilio: ConnectedTwilio, sales_number: str) -> str:
    """A number at Twilio whose agent may do everything and whose calls are recorded."""
    acme.profile(
        greeting="Acme here.",
        recording=True,
        consent_sentence="This call is recorded.",
        tools=["end_call", "transfer"],
        transfer_targets={"sales": {"number": sales_number, "description": "buys"}},
        end_phrases=["goodbye"],
    )
    return _number(acme, twilio)


@pytest.fixture
def voicemail_number(acme: Tenant, twilio: ConnectedTwilio) -> str:
    """A number whose callers may leave a message now."""
    acme.patch("/settings", {"sentences": {"closed": "Leave us a message."}})
    acme.profile()
    return _number(acme, twilio, hours=NIGHT)


def _number(tenant: Tenant, twilio: ConnectedTwilio, **fields: Any) -> str:
    made = tenant.number(provider_type="twilio", **fields)
    twilio.account.add_number(made["did_number"])
    return str(made["did_number"])


def _events(record: CallRecord) -> list[str]:
    found = record.tenant.get(f"/calls/{record.call['id']}/events").json
    return [event["event_type"] for event in found]


# --- The whole of a call ---------------------------------------------------------------------

HELD = [
    "agent: This call is recorded. Acme here.",
    "caller: Are you open?",
    "agent: At nine.",
    "agent: Sorry, I did not catch that. Could you say it again?",
    "caller: (pressed 1 2)",
    "agent: That is twelve.",
    "caller: Tell me more.",
    "agent: One moment, please. It is a long story.",
    "caller: Sales, please.",
    "agent: I connect you.",
]


@pytest.fixture
def thinking(script_model: Says, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """What the agent says in `_play`; inside of this it thinks longer than callers are patient."""
    thought = Event()
    model = script_model(
        ["At nine."],
        ["That is twelve."],
        [thought, "It is a long story."],
        ["I connect you.", transfer("sales")],
        ["Goodbye."],
    )

    @contextmanager
    def thinking() -> Iterator[None]:
        use_model(model, filler_s=0.05)
        with monkeypatch.context() as patch:
            patch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
            yield
        thought.set()
        use_model(model)

    return thinking


def _play(call: TwilioCall, thinking: Callable[[], Any]) -> dict[str, TwimlDocument]:
    """Twilio's sequence from ring to hang-up; what it was told to do at each step."""
    told = {
        "ring": call.ring(),
        "speech": call.say("Are you open?"),
        "silence": call.stay_silent(),
        "keys": call.press("12"),
    }
    with thinking(), call.send_once():  # sent again meanwhile, it would have the agent think anew
        told["slow"] = call.say("Tell me more.")
    told["rest"] = call.poll()
    told["transfer"] = call.say("Sales, please.")
    told["back"] = call.end_leg("busy")
    told["bye"] = call.say("Goodbye!")
    told["end"] = call.hang_up()
    recording = told["ring"].find("Recording").get("recordingStatusCallback") or ""
    told["recording"] = call.report_recording(recording, f"RE{5:032x}")
    return told


def test_a_call_is_held_from_ring_to_hang_up(
    anonymous: Api,
    call_record: CallRecord,
    number: str,
    sales_number: str,
    thinking: Callable[[], Any],
) -> None:
    call = TwilioCall(anonymous, number)

    told = _play(call, thinking)

    assert told["ring"].spoken_text == "This call is recorded. Acme here."
    assert told["ring"].verbs == ["Say", "Start", "Gather"]
    assert told["speech"].spoken_text == "At nine."
    assert told["silence"].spoken_text.startswith("Sorry, I did not catch that.")
    assert told["keys"].spoken_text == "That is twelve."
    assert told["slow"].verbs == ["Say", "Redirect"]
    assert told["rest"].spoken_text == "It is a long story."
    dial = told["transfer"].find("Dial")
    assert (dial.text, dial.get("callerId")) == (sales_number, number)
    assert told["back"].verbs == ["Gather"]
    assert told["bye"].verbs == ["Say", "Hangup"]
    assert told["end"].verbs == told["recording"].verbs == []
    assert call_record.end_state == ("completed", "agent_hangup")
    assert call_record.transcript[: len(HELD)] == HELD
    assert (call_record.call["caller_number"], call_record.call["provider_type"]) == (
        CALLER,
        "twilio",
    )
    assert call_record.call["provider_call_id"] == call.sid
    assert _events(call_record) == ["RINGING", "ANSWERED", "ENDED", "ENDED"]


def test_whatever_comes_twice_and_in_any_order_the_record_is_the_same(
    anonymous: Api, call_record: CallRecord, number: str, thinking: Callable[[], Any]
) -> None:
    call = TwilioCall(anonymous, number, copies=2)
    _play(call, thinking)
    held = (call_record.transcript, call_record.end_state, _events(call_record))

    for seed in range(3):
        again = [*call.sent_requests, *call.sent_requests]
        random.Random(seed).shuffle(again)
        for request in again:
            assert send(anonymous, request).status_code == 200

    assert held[0][: len(HELD)] == HELD
    assert held[1] == ("completed", "agent_hangup")
    assert held[2] == ["RINGING", "ANSWERED", "ENDED", "ENDED"]
    assert (call_record.transcript, call_record.end_state, _events(call_record)) == held


def test_a_callers_hang_up_is_the_end(anonymous: Api, call_record: CallRecord, number: str) -> None:
    call = TwilioCall(anonymous, number)
    call.ring()

    for _ in range(2):
        assert call.hang_up().verbs == []

    assert call_record.end_state == ("completed", "caller_hangup")


def test_a_status_that_nobody_knows_is_on_record_and_ends_nothing(
    anonymous: Api, call_record: CallRecord, number: str
) -> None:
    call = TwilioCall(anonymous, number)
    call.ring()

    call.hang_up("on-the-moon")

    assert call_record.end_state == ("in_progress", None)
    found = call_record.tenant.get(f"/calls/{call_record.call['id']}/events").json
    assert {"carrier_status": "on-the-moon"} in [event["details"] for event in found]


def test_a_recording_is_fetched_from_twilio(
    anonymous: Api, call_record: CallRecord, twilio: ConnectedTwilio, world: Factory, number: str
) -> None:
    call = TwilioCall(anonymous, number)
    told_at = call.ring().find("Recording").get("recordingStatusCallback") or ""
    call.hang_up()
    recording = twilio.account.add_recording(call.sid, AUDIO)

    call.report_recording(told_at, recording)
    world.run_jobs(call_record.tenant)

    assert call_record.tenant.get(f"/calls/{call_record.call['id']}/recording").data == AUDIO
    assert twilio.account.recordings == {}


@pytest.mark.parametrize("first", ["message", "hang-up"])
def test_a_caller_leaves_a_message(
    anonymous: Api,
    call_record: CallRecord,
    twilio: ConnectedTwilio,
    world: Factory,
    voicemail_number: str,
    first: str,
) -> None:
    call = TwilioCall(anonymous, voicemail_number)
    asked = call.ring()
    recording = twilio.account.add_recording(call.sid, AUDIO)
    if first == "hang-up":
        call.hang_up()
        call.twiml = asked

    bye = call.leave_message(recording)
    call.hang_up()
    world.run_jobs(call_record.tenant)

    assert asked.spoken_text == "Leave us a message."
    assert asked.verbs == ["Say", "Record", "Redirect"]
    assert bye.verbs == ["Hangup"]
    assert call_record.end_state == ("completed", "voicemail")
    [message] = call_record.messages
    assert call_record.tenant.api.get(message["audio"]).data == AUDIO


def test_a_number_that_nobody_has_is_refused_unanswered(
    anonymous: Api, twilio: ConnectedTwilio
) -> None:
    refused = TwilioCall(anonymous, fresh_number()).ring()

    assert refused.verbs == ["Reject"]


# --- Outbound --------------------------------------------------------------------------------


def test_a_call_that_we_place_is_held_and_ends(
    anonymous: Api, acme: Tenant, twilio: ConnectedTwilio, world: Factory, number: str
) -> None:
    [phone] = acme.get("/phone-numbers").json
    callee = fresh_number()
    body = {"to": callee, "from_phone_number_id": phone["id"]}
    assert acme.post("/calls", body).status_code == 202
    world.run_jobs(acme)
    [form] = twilio.requests_to("POST", "Calls.json")
    [placed] = twilio.account.calls

    def tell(url: str, status: str) -> TwimlDocument:
        said = outbound_form(placed, to=callee, caller=number, status=status)
        call = TwilioCall(anonymous, number, sid=placed)
        return call.deliver(signed_request(ACCOUNT_LOGIN, url, said))

    for status in ("initiated", "ringing", "in-progress"):
        tell(form["StatusCallback"][0], status)
    greeted = tell(form["Url"][0], "in-progress")
    tell(form["StatusCallback"][0], "completed")

    assert greeted.spoken_text.endswith("Acme here.")
    [call] = acme.get("/calls").json
    assert (call["provider_call_id"], call["direction"]) == (placed, "outbound")
    assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")


# --- Forgeries -------------------------------------------------------------------------------

# These are of another URL, or no HTTP client sends them, or they are too large for any carrier.
ELSEWHERE = {
    *("http", "another host", "another token of ours", "no token of ours"),
    *("a signature that is no base64", "a signature with a line's end", "an enormous body"),
}
HERE = {name: forge for name, forge in FORGERIES.items() if name not in ELSEWHERE}


@pytest.mark.parametrize("forge", HERE.values(), ids=HERE)
def test_a_forgery_is_answered_403_or_400_and_writes_nothing(
    anonymous: Api, call_record: CallRecord, twilio: ConnectedTwilio, number: str, forge: Forgery
) -> None:
    call = TwilioCall(anonymous, number)
    url = call.ring().next_url("Gather")
    form = {
        **inbound_form(call.sid, to=number, caller=CALLER),
        "SpeechResult": "Hi.",
        "Confidence": "1",
    }
    forged = forge(signed_request(ACCOUNT_LOGIN, url, form))
    held = (call_record.transcript, call_record.end_state, _events(call_record))

    answer = send(anonymous, forged)

    assert answer.status_code == (403 if _can_be_read(twilio, forged) else 400)
    assert (call_record.transcript, call_record.end_state, _events(call_record)) == held


def _can_be_read(twilio: ConnectedTwilio, request: CarrierRequest) -> bool:
    try:
        twilio.adapter.parse(request)
    except InvalidCarrierRequest:
        return False
    return True


@pytest.mark.parametrize("action", ["voice", "status", "turn?verb=gather", "recording"])
def test_another_account_can_not_speak_for_a_tenants_number(
    anonymous: Api, acme: Tenant, number: str, action: str
) -> None:
    form = inbound_form(f"CA{3:032x}", to=number, caller=CALLER, status="ringing")
    said = {"RecordingSid": f"RE{3:032x}", "RecordingStatus": "completed"}

    answer = send(anonymous, signed_request(OTHER_LOGIN, f"{BASE_PATH}{action}", {**form, **said}))

    assert answer.status_code == 403
    assert acme.get("/calls").json == []
