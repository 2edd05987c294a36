"""Calls through Twilio's webhooks: from ring to hang-up, doubled, shuffled, forged."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from flask import Flask

from tests.carriers.twilio.line import BASE, CALLER, TwilioCall, send
from tests.carriers.twilio.rig import OURS, THEIRS, Rig, rig
from tests.carriers.twilio.twiml import Document
from tests.carriers.twilio.webhooks import inbound, outbound, signed
from tests.doubles.hostile_model import transfer
from tests.doubles.models import Rehearsed
from tests.flows.conftest import Record, use
from tests.support.api import Api
from tests.support.world import Tenant, World, fresh_number
from tests.telephony.test_twilio_webhooks import FORGERIES, Forgery
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.types import CarrierRequest
from vca.tenant.calls.carrier_webhooks import polled_turn

Says = Callable[..., Rehearsed]
AUDIO = b"RIFF of a call"
NIGHT = {"weekly": {}, "closed_action": "voicemail"}


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[Rig]:
    """Twilio is the deployment's carrier."""
    with rig() as made:
        providers.set_current_carriers(providers.Carriers(settings)).register(made.adapter)
        yield made


@pytest.fixture
def sales() -> str:
    """Whom the agent may connect callers with."""
    return fresh_number()


@pytest.fixture
def number(acme: Tenant, twilio: Rig, sales: str) -> str:
    """A number at Twilio whose agent may do everything and whose calls are recorded."""
    acme.profile(
        greeting="Acme here.",
        recording=True,
        consent_sentence="This call is recorded.",
        tools=["end_call", "transfer"],
        transfer_targets={"sales": {"number": sales, "description": "buys"}},
        end_phrases=["goodbye"],
    )
    return _number(acme, twilio)


@pytest.fixture
def night(acme: Tenant, twilio: Rig) -> str:
    """A number whose callers may leave a message now."""
    acme.patch("/settings", {"sentences": {"closed": "Leave us a message."}})
    acme.profile()
    return _number(acme, twilio, hours=NIGHT)


def _number(tenant: Tenant, twilio: Rig, **fields: Any) -> str:
    made = tenant.number(provider_type="twilio", **fields)
    twilio.account.own(made["did_number"])
    return str(made["did_number"])


def _events(record: Record) -> list[str]:
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
def thinking(says: Says, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """What the agent says in `_play`; inside of this it thinks longer than callers are patient."""
    thought = Event()
    model = says(
        ["At nine."],
        ["That is twelve."],
        [thought, "It is a long story."],
        ["I connect you.", transfer("sales")],
        ["Goodbye."],
    )

    @contextmanager
    def thinking() -> Iterator[None]:
        use(model, filler_s=0.05)
        with monkeypatch.context() as patch:
            patch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
            yield
        thought.set()
        use(model)

    return thinking


def _play(call: TwilioCall, thinking: Callable[[], Any]) -> dict[str, Document]:
    """Twilio's sequence from ring to hang-up; what it was told to do at each step."""
    told = {
        "ring": call.ring(),
        "speech": call.say("Are you open?"),
        "silence": call.stay_silent(),
        "keys": call.press("12"),
    }
    with thinking(), call.once():  # sent again meanwhile, it would have the agent think anew
        told["slow"] = call.say("Tell me more.")
    told["rest"] = call.come_back()
    told["transfer"] = call.say("Sales, please.")
    told["back"] = call.leg_ended("busy")
    told["bye"] = call.say("Goodbye!")
    told["end"] = call.hang_up()
    recording = told["ring"].find("Recording").get("recordingStatusCallback") or ""
    told["recording"] = call.recorded(recording, f"RE{5:032x}")
    return told


def test_a_call_is_held_from_ring_to_hang_up(
    anonymous: Api, record: Record, number: str, sales: str, thinking: Callable[[], Any]
) -> None:
    call = TwilioCall(anonymous, number)

    told = _play(call, thinking)

    assert told["ring"].words == "This call is recorded. Acme here."
    assert told["ring"].verbs == ["Say", "Start", "Gather"]
    assert told["speech"].words == "At nine."
    assert told["silence"].words.startswith("Sorry, I did not catch that.")
    assert told["keys"].words == "That is twelve."
    assert told["slow"].verbs == ["Say", "Redirect"]
    assert told["rest"].words == "It is a long story."
    dial = told["transfer"].find("Dial")
    assert (dial.text, dial.get("callerId")) == (sales, number)
    assert told["back"].verbs == ["Gather"]
    assert told["bye"].verbs == ["Say", "Hangup"]
    assert told["end"].verbs == told["recording"].verbs == []
    assert record.end == ("completed", "agent_hangup")
    assert record.said[: len(HELD)] == HELD
    assert (record.call["caller_number"], record.call["provider_type"]) == (CALLER, "twilio")
    assert record.call["provider_call_id"] == call.sid
    assert _events(record) == ["RINGING", "ANSWERED", "ENDED", "ENDED"]


def test_whatever_comes_twice_and_in_any_order_the_record_is_the_same(
    anonymous: Api, record: Record, number: str, thinking: Callable[[], Any]
) -> None:
    call = TwilioCall(anonymous, number, copies=2)
    _play(call, thinking)
    held = (record.said, record.end, _events(record))

    for seed in range(3):
        again = [*call.sent, *call.sent]
        random.Random(seed).shuffle(again)
        for request in again:
            assert send(anonymous, request).status_code == 200

    assert held[0][: len(HELD)] == HELD
    assert held[1] == ("completed", "agent_hangup")
    assert held[2] == ["RINGING", "ANSWERED", "ENDED", "ENDED"]
    assert (record.said, record.end, _events(record)) == held


def test_a_callers_hang_up_is_the_end(anonymous: Api, record: Record, number: str) -> None:
    call = TwilioCall(anonymous, number)
    call.ring()

    for _ in range(2):
        assert call.hang_up().verbs == []

    assert record.end == ("completed", "caller_hangup")


def test_a_status_that_nobody_knows_is_on_record_and_ends_nothing(
    anonymous: Api, record: Record, number: str
) -> None:
    call = TwilioCall(anonymous, number)
    call.ring()

    call.hang_up("on-the-moon")

    assert record.end == ("in_progress", None)
    found = record.tenant.get(f"/calls/{record.call['id']}/events").json
    assert {"carrier_status": "on-the-moon"} in [event["details"] for event in found]


def test_a_recording_is_fetched_from_twilio(
    anonymous: Api, record: Record, twilio: Rig, world: World, number: str
) -> None:
    call = TwilioCall(anonymous, number)
    told_at = call.ring().find("Recording").get("recordingStatusCallback") or ""
    call.hang_up()
    recording = twilio.account.record(call.sid, AUDIO)

    call.recorded(told_at, recording)
    world.work(record.tenant)

    assert record.tenant.get(f"/calls/{record.call['id']}/recording").data == AUDIO
    assert twilio.account.recordings == {}


@pytest.mark.parametrize("first", ["message", "hang-up"])
def test_a_caller_leaves_a_message(
    anonymous: Api, record: Record, twilio: Rig, world: World, night: str, first: str
) -> None:
    call = TwilioCall(anonymous, night)
    asked = call.ring()
    recording = twilio.account.record(call.sid, AUDIO)
    if first == "hang-up":
        call.hang_up()
        call.heard = asked

    bye = call.leave_message(recording)
    call.hang_up()
    world.work(record.tenant)

    assert asked.words == "Leave us a message."
    assert asked.verbs == ["Say", "Record", "Redirect"]
    assert bye.verbs == ["Hangup"]
    assert record.end == ("completed", "voicemail")
    [message] = record.messages
    assert record.tenant.api.get(message["audio"]).data == AUDIO


def test_a_number_that_nobody_has_is_refused_unanswered(anonymous: Api, twilio: Rig) -> None:
    refused = TwilioCall(anonymous, fresh_number()).ring()

    assert refused.verbs == ["Reject"]


# --- Outbound --------------------------------------------------------------------------------


def test_a_call_that_we_place_is_held_and_ends(
    anonymous: Api, acme: Tenant, twilio: Rig, world: World, number: str
) -> None:
    [phone] = acme.get("/phone-numbers").json
    callee = fresh_number()
    body = {"to": callee, "from_phone_number_id": phone["id"]}
    assert acme.post("/calls", body).status_code == 202
    world.work(acme)
    [form] = twilio.asked("POST", "Calls.json")
    [placed] = twilio.account.calls

    def tell(url: str, status: str) -> Document:
        said = outbound(placed, to=callee, caller=number, status=status)
        call = TwilioCall(anonymous, number, sid=placed)
        return call.deliver(signed(OURS, url, said))

    for status in ("initiated", "ringing", "in-progress"):
        tell(form["StatusCallback"][0], status)
    greeted = tell(form["Url"][0], "in-progress")
    tell(form["StatusCallback"][0], "completed")

    assert greeted.words.endswith("Acme here.")
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
    anonymous: Api, record: Record, twilio: Rig, number: str, forge: Forgery
) -> None:
    call = TwilioCall(anonymous, number)
    url = call.ring().action("Gather")
    form = {**inbound(call.sid, to=number, caller=CALLER), "SpeechResult": "Hi.", "Confidence": "1"}
    forged = forge(signed(OURS, url, form))
    held = (record.said, record.end, _events(record))

    answer = send(anonymous, forged)

    assert answer.status_code == (403 if _can_be_read(twilio, forged) else 400)
    assert (record.said, record.end, _events(record)) == held


def _can_be_read(twilio: Rig, request: CarrierRequest) -> bool:
    try:
        twilio.adapter.parse(request)
    except InvalidCarrierRequest:
        return False
    return True


@pytest.mark.parametrize("action", ["voice", "status", "turn?verb=gather", "recording"])
def test_another_account_can_not_speak_for_a_tenants_number(
    anonymous: Api, acme: Tenant, number: str, action: str
) -> None:
    form = inbound(f"CA{3:032x}", to=number, caller=CALLER, status="ringing")
    said = {"RecordingSid": f"RE{3:032x}", "RecordingStatus": "completed"}

    answer = send(anonymous, signed(THEIRS, f"{BASE}{action}", {**form, **said}))

    assert answer.status_code == 403
    assert acme.get("/calls").json == []
