"""Calls through Twilio's webhooks: genuine, repeated, reordered and forged ones."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
from tests.support.services import use_carriers
from tests.unit.telephony.test_twilio_webhooks import FORGERIES, Forgery
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.types import CarrierRequest
from vca.tenant.calls.carrier_webhooks import polled_turn

ScriptModel = Callable[..., SequenceModel]
SlowModel = Callable[[], AbstractContextManager[None]]
AUDIO = b"RIFF of a call"
CLOSED_HOURS = {"weekly": {}, "closed_action": "voicemail"}


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[ConnectedTwilio]:
    """Install Twilio as the deployment's carrier and return it."""
    with connected_twilio() as twilio:
        use_carriers(providers.Carriers(settings)).register(twilio.adapter)
        yield twilio


@pytest.fixture
def sales_number() -> str:
    """Return the number of the transfer target."""
    return fresh_number()


@pytest.fixture
def number(acme: Tenant, twilio: ConnectedTwilio, sales_number: str) -> str:
    """Return a Twilio number with recorded calls whose agent has all tools."""
    acme.profile(
        greeting="Acme here.",
        recording=True,
        consent_sentence="This call is recorded.",
        tools=["end_call", "transfer"],
        transfer_targets={"sales": {"number": sales_number, "description": "buys"}},
        end_phrases=["goodbye"],
    )
    return _create_number(acme, twilio)


@pytest.fixture
def voicemail_number(acme: Tenant, twilio: ConnectedTwilio) -> str:
    """Return a closed number whose callers may leave a message."""
    acme.patch("/settings", {"sentences": {"closed": "Leave us a message."}})
    acme.profile()
    return _create_number(acme, twilio, hours=CLOSED_HOURS)


def _create_number(tenant: Tenant, twilio: ConnectedTwilio, **fields: Any) -> str:
    """Create a number of the tenant and of the Twilio account."""
    number = str(tenant.number(provider_type="twilio", **fields)["did_number"])
    twilio.account.add_number(number)
    return number


def _list_events(record: CallRecord) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = record.tenant.get(f"/calls/{record.call['id']}/events").json
    return events


def _stored_state(record: CallRecord) -> tuple[list[str], tuple[str, str | None], list[str]]:
    """Return the call's transcript, end state and event types."""
    event_types = [event["event_type"] for event in _list_events(record)]
    return record.transcript, record.end_state, event_types


# --- A complete call ---

TRANSCRIPT_UNTIL_TRANSFER = [
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
def slow_model(script_model: ScriptModel, monkeypatch: pytest.MonkeyPatch) -> SlowModel:
    """Install the answers of `_play_call`; return a context in which the model is too slow."""
    model_may_answer = Event()
    model = script_model(
        ["At nine."],
        ["That is twelve."],
        [model_may_answer, "It is a long story."],
        ["I connect you.", transfer("sales")],
        ["Goodbye."],
    )

    @contextmanager
    def slow_model() -> Iterator[None]:
        use_model(model, filler_s=0.05)
        with monkeypatch.context() as patch:
            patch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
            yield
        model_may_answer.set()
        use_model(model)

    return slow_model


def _play_call(call: TwilioCall, slow_model: SlowModel) -> dict[str, TwimlDocument]:
    """Send the webhooks of a complete call; return the response of each step."""
    documents = {
        "ring": call.ring(),
        "speech": call.say("Are you open?"),
        "silence": call.stay_silent(),
        "keys": call.press("12"),
    }
    # A repetition of this request would make the model generate its answer again.
    with slow_model(), call.send_once():
        documents["slow_answer"] = call.say("Tell me more.")
    documents["poll"] = call.poll()
    documents["transfer"] = call.say("Sales, please.")
    documents["failed_transfer"] = call.end_leg("busy")
    documents["goodbye"] = call.say("Goodbye!")
    documents["hang_up"] = call.hang_up()
    callback_url = documents["ring"].find("Recording").get("recordingStatusCallback") or ""
    documents["recording"] = call.report_recording(callback_url, f"RE{5:032x}")
    return documents


def test_a_complete_call_is_stored_with_all_its_turns(
    anonymous: Api,
    call_record: CallRecord,
    number: str,
    sales_number: str,
    slow_model: SlowModel,
) -> None:
    call = TwilioCall(anonymous, number)

    documents = _play_call(call, slow_model)

    assert documents["ring"].spoken_text == "This call is recorded. Acme here."
    assert documents["ring"].verbs == ["Say", "Start", "Gather"]
    assert documents["speech"].spoken_text == "At nine."
    assert documents["silence"].spoken_text.startswith("Sorry, I did not catch that.")
    assert documents["keys"].spoken_text == "That is twelve."
    assert documents["slow_answer"].verbs == ["Say", "Redirect"]
    assert documents["poll"].spoken_text == "It is a long story."
    dial = documents["transfer"].find("Dial")
    assert (dial.text, dial.get("callerId")) == (sales_number, number)
    assert documents["failed_transfer"].verbs == ["Gather"]
    assert documents["goodbye"].verbs == ["Say", "Hangup"]
    assert documents["hang_up"].verbs == documents["recording"].verbs == []
    assert call_record.end_state == ("completed", "agent_hangup")
    assert call_record.transcript[: len(TRANSCRIPT_UNTIL_TRANSFER)] == TRANSCRIPT_UNTIL_TRANSFER
    assert (call_record.call["caller_number"], call_record.call["provider_type"]) == (
        CALLER,
        "twilio",
    )
    assert call_record.call["provider_call_id"] == call.sid
    _, _, event_types = _stored_state(call_record)
    assert event_types == ["RINGING", "ANSWERED", "ENDED", "ENDED"]


def test_repeated_and_reordered_webhooks_leave_the_same_record(
    anonymous: Api, call_record: CallRecord, number: str, slow_model: SlowModel
) -> None:
    call = TwilioCall(anonymous, number, copies=2)
    _play_call(call, slow_model)
    before = _stored_state(call_record)

    for seed in range(3):
        repetitions = [*call.sent_requests, *call.sent_requests]
        random.Random(seed).shuffle(repetitions)
        for request in repetitions:
            assert send(anonymous, request).status_code == 200

    transcript, end_state, event_types = before
    assert transcript[: len(TRANSCRIPT_UNTIL_TRANSFER)] == TRANSCRIPT_UNTIL_TRANSFER
    assert end_state == ("completed", "agent_hangup")
    assert event_types == ["RINGING", "ANSWERED", "ENDED", "ENDED"]
    assert _stored_state(call_record) == before


def test_a_hang_up_of_the_caller_ends_the_call(
    anonymous: Api, call_record: CallRecord, number: str
) -> None:
    call = TwilioCall(anonymous, number)
    call.ring()

    for _ in range(2):
        assert call.hang_up().verbs == []

    assert call_record.end_state == ("completed", "caller_hangup")


def test_an_unknown_status_is_stored_and_does_not_end_the_call(
    anonymous: Api, call_record: CallRecord, number: str
) -> None:
    call = TwilioCall(anonymous, number)
    call.ring()

    call.hang_up("on-the-moon")

    assert call_record.end_state == ("in_progress", None)
    details = [event["details"] for event in _list_events(call_record)]
    assert {"carrier_status": "on-the-moon"} in details


def test_a_recording_is_fetched_from_twilio(
    anonymous: Api, call_record: CallRecord, twilio: ConnectedTwilio, world: Factory, number: str
) -> None:
    call = TwilioCall(anonymous, number)
    callback_url = call.ring().find("Recording").get("recordingStatusCallback") or ""
    call.hang_up()
    recording = twilio.account.add_recording(call.sid, AUDIO)

    call.report_recording(callback_url, recording)
    world.run_jobs(call_record.tenant)

    assert call_record.tenant.get(f"/calls/{call_record.call['id']}/recording").data == AUDIO
    assert twilio.account.recordings == {}


@pytest.mark.parametrize("first_event", ["message", "hang-up"])
def test_a_voicemail_creates_a_message_with_its_audio(
    anonymous: Api,
    call_record: CallRecord,
    twilio: ConnectedTwilio,
    world: Factory,
    voicemail_number: str,
    first_event: str,
) -> None:
    call = TwilioCall(anonymous, voicemail_number)
    document = call.ring()
    recording = twilio.account.add_recording(call.sid, AUDIO)
    if first_event == "hang-up":
        call.hang_up()
        call.twiml = document

    end_document = call.leave_message(recording)
    call.hang_up()
    world.run_jobs(call_record.tenant)

    assert document.spoken_text == "Leave us a message."
    assert document.verbs == ["Say", "Record", "Redirect"]
    assert end_document.verbs == ["Hangup"]
    assert call_record.end_state == ("completed", "voicemail")
    [message] = call_record.messages
    assert call_record.tenant.api.get(message["audio"]).data == AUDIO


def test_a_call_to_an_unknown_number_is_rejected(anonymous: Api, twilio: ConnectedTwilio) -> None:
    document = TwilioCall(anonymous, fresh_number()).ring()

    assert document.verbs == ["Reject"]


# --- Outbound calls ---


def test_an_outbound_call_is_greeted_and_ends(
    anonymous: Api, acme: Tenant, twilio: ConnectedTwilio, world: Factory, number: str
) -> None:
    [phone_number] = acme.get("/phone-numbers").json
    callee = fresh_number()
    body = {"to": callee, "from_phone_number_id": phone_number["id"]}
    assert acme.post("/calls", body).status_code == 202
    world.run_jobs(acme)
    [form] = twilio.requests_to("POST", "Calls.json")
    [call_sid] = twilio.account.calls

    def send_status(url: str, status: str) -> TwimlDocument:
        status_form = outbound_form(call_sid, to=callee, caller=number, status=status)
        call = TwilioCall(anonymous, number, sid=call_sid)
        return call.deliver(signed_request(ACCOUNT_LOGIN, url, status_form))

    for status in ("initiated", "ringing", "in-progress"):
        send_status(form["StatusCallback"][0], status)
    document = send_status(form["Url"][0], "in-progress")
    send_status(form["StatusCallback"][0], "completed")

    assert document.spoken_text.endswith("Acme here.")
    [call] = acme.get("/calls").json
    assert (call["provider_call_id"], call["direction"]) == (call_sid, "outbound")
    assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")


# --- Forgeries ---

# Forgeries of another URL, that no HTTP client can send, or that are too large for any carrier.
EXCLUDED_NAMES = {
    *("http", "another host", "another state token", "no state token"),
    *("a signature that is no base64", "a signature with a line's end", "an enormous body"),
}
SENDABLE_FORGERIES = {
    name: forge for name, forge in FORGERIES.items() if name not in EXCLUDED_NAMES
}


@pytest.mark.parametrize("forge", SENDABLE_FORGERIES.values(), ids=SENDABLE_FORGERIES)
def test_a_forged_request_returns_403_or_400_and_writes_nothing(
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
    before = _stored_state(call_record)

    response = send(anonymous, forged)

    assert response.status_code == (403 if _can_be_parsed(twilio, forged) else 400)
    assert _stored_state(call_record) == before


def _can_be_parsed(twilio: ConnectedTwilio, request: CarrierRequest) -> bool:
    try:
        twilio.adapter.parse(request)
    except InvalidCarrierRequest:
        return False
    return True


@pytest.mark.parametrize("action", ["voice", "status", "turn?verb=gather", "recording"])
def test_another_accounts_requests_for_a_tenants_number_return_403(
    anonymous: Api, acme: Tenant, number: str, action: str
) -> None:
    form = inbound_form(f"CA{3:032x}", to=number, caller=CALLER, status="ringing")
    recording_fields = {"RecordingSid": f"RE{3:032x}", "RecordingStatus": "completed"}

    response = send(
        anonymous, signed_request(OTHER_LOGIN, f"{BASE_PATH}{action}", {**form, **recording_fields})
    )

    assert response.status_code == 403
    assert acme.get("/calls").json == []
