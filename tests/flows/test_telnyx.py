"""Calls through Telnyx from ring to hang-up: signed events, its API on loopback, its own SDK."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from threading import Event
from typing import Any
from uuid import UUID

import pytest

from tests.carriers.telnyx import accounts
from tests.carriers.telnyx.accounts import BASE_URL, CALLER, adapter_of, fresh
from tests.carriers.telnyx.calls import Leg
from tests.carriers.telnyx.line import TelnyxLine, heard, ordered
from tests.carriers.telnyx.server import TelnyxServer, telnyx_server
from tests.carriers.telnyx.signing import Signer
from tests.doubles.hostile_model import transfer
from tests.doubles.models import Parrot, Rehearsed
from tests.flows.conftest import Record, use
from tests.support.api import Api
from tests.support.world import Tenant, World, fresh_number
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import CallReply, Transfer
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks import polled_turn
from vca.tenant.calls.control import outbound_calls
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core.call_types import CallRef

Says = Callable[..., Rehearsed]
NOBODY = "nobody could be reached"
SIGNER = Signer()


@pytest.fixture(scope="module")
def server() -> Iterator[TelnyxServer]:
    with telnyx_server() as server:
        yield server


@pytest.fixture
def line(settings: Settings, server: TelnyxServer, anonymous: Api) -> Iterator[TelnyxLine]:
    """The deployment's account with Telnyx, and Telnyx's line into the product."""
    call_services.set_current_services(
        replace(call_services.current_services(), public_base_url=BASE_URL)
    )
    providers.set_current_carriers(providers.Carriers(settings)).register(
        adapter_of(server, SIGNER)
    )
    with fresh(server):
        yield TelnyxLine(server, SIGNER, anonymous)


@pytest.fixture
def number(line: TelnyxLine, acme: Tenant) -> str:
    """A number of acme's that an agent answers."""
    acme.profile(greeting="Acme here.", end_phrases=["goodbye"], silence_seconds=7)
    found: str = acme.number(provider_type="telnyx")["did_number"]
    return found


def _events(record: Record) -> list[str]:
    events = record.tenant.get(f"/calls/{record.call['id']}/events").json
    return sorted(event["event_type"] for event in events)


# --- From ring to hang-up -----------------------------------------------------------------------


def test_a_call_is_answered_greeted_held_and_hung_up_once_the_last_word_was_said(
    line: TelnyxLine, record: Record, says: Says, number: str
) -> None:
    says(["At nine."])

    leg = line.ring(number)
    line.say(leg, "When do you open?")
    line.say(leg, "Goodbye!")

    turns = ["agent: Acme here.", "caller: When do you open?", "agent: At nine."]
    assert record.said[:3] == turns
    assert heard(leg) == [line.partition(": ")[2] for line in record.said if "agent" in line]
    assert ordered(leg) == [
        *("answer", "start_transcription", "gather_using_speak"),
        *("stop_gather", "gather_using_speak"),
        *("stop_gather", "speak", "hangup"),
    ]
    assert record.end == ("completed", "agent_hangup")
    assert (record.call["caller_number"], record.call["provider_call_id"]) == (CALLER, leg.id)
    assert not leg.alive


def test_a_ring_is_only_answered_and_what_is_said_waits_until_it_was(
    line: TelnyxLine, record: Record, number: str
) -> None:
    leg = line.switch.ring("v3:rings", to=number, from_=CALLER)
    [ring] = line.switch.pending
    line.switch.pending = []

    line.tell(ring)

    assert ordered(leg) == ["answer"]
    assert record.end == ("in_progress", None)
    line.pump()
    assert ordered(leg) == ["answer", "start_transcription", "gather_using_speak"]
    assert record.said == ["agent: Acme here."]


def test_who_hangs_up_ends_the_call(line: TelnyxLine, record: Record, number: str) -> None:
    leg = line.ring(number)

    line.put_down(leg)

    assert record.end == ("completed", "caller_hangup")
    assert _events(record) == ["ANSWERED", "ENDED", "RINGING"]


def test_a_number_that_nobody_has_is_refused_and_never_answered(
    line: TelnyxLine, acme: Tenant
) -> None:
    leg = line.ring(fresh_number())

    assert ordered(leg) == ["reject"]
    assert not leg.answered


def test_the_caller_is_heard_in_the_profiles_language(line: TelnyxLine, acme: Tenant) -> None:
    acme.profile(greeting="Grüß Gott.", language="de-AT")

    leg = line.ring(acme.number(provider_type="telnyx")["did_number"])

    listening = dict(leg.commands)["transcription_start"]
    assert listening["transcription_engine_config"]["language"] == "de"
    assert dict(leg.commands)["gather_using_speak"]["voice"] == "AWS.Polly.Hannah-Neural"


# --- Turns --------------------------------------------------------------------------------------


def test_who_says_nothing_is_asked_and_may_go_on(
    line: TelnyxLine, record: Record, says: Says, number: str
) -> None:
    says(["At nine."])
    leg = line.ring(number)
    assert dict(leg.commands)["gather_using_speak"]["timeout_millis"] == 7_000

    line.keep_silent(leg)
    line.say(leg, "When?")

    assert [turn["speaker"] for turn in record.turns] == ["agent", "agent", "caller", "agent"]
    assert heard(leg)[-1] == "At nine."


def test_keys_are_a_turn(line: TelnyxLine, record: Record, says: Says, number: str) -> None:
    model = says(["Two it is."])
    leg = line.ring(number)

    line.press(leg, "2#")

    assert model.asked[0].messages[-1].text == "(pressed 2 #)"
    assert heard(leg)[-1] == "Two it is."


def test_two_sentences_in_one_breath_are_both_answered_and_nothing_is_lost(
    line: TelnyxLine, record: Record, says: Says, number: str
) -> None:
    says(["Hello Jane."], ["That hurts."])
    leg = line.ring(number)

    line.say(leg, "I am Jane.", "My tooth hurts.")

    assert [turn["speaker"] for turn in record.turns].count("caller") == 2
    assert heard(leg) == ["Acme here.", "Hello Jane.", "That hurts."]
    assert ordered(leg)[-4:] == ["stop_gather", "gather_using_speak"] * 2


def test_a_silence_that_ends_after_the_caller_was_answered_is_none(
    line: TelnyxLine, record: Record, says: Says, number: str
) -> None:
    says(["At nine."])
    leg = line.ring(number)
    before = leg.client_state
    line.say(leg, "When?")
    said = heard(leg)

    late = accounts.event("call.gather.ended", call_id=leg.id, status="timeout")
    late["data"]["payload"]["client_state"] = before
    line.tell(late)

    assert heard(leg) == said
    assert len(record.turns) == 3


def test_while_the_model_thinks_something_is_said_and_the_rest_when_it_is_there(
    line: TelnyxLine, record: Record, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
    thought = Event()
    use(Parrot(thought, "We open at nine."), filler_s=0.05)
    leg = line.ring(number)

    line.switch.say(leg, "When?")
    line.tell(line.switch.pending.pop())
    assert heard(leg)[1:] == ["One moment, please."]
    thought.set()
    line.pump()

    assert heard(leg)[1:] == ["One moment, please.", "We open at nine."]
    assert ordered(leg)[-3:] == ["stop_gather", "speak", "gather_using_speak"]
    assert len(record.turns) == 3


@pytest.mark.parametrize(("fault", "times"), [("refuses", 1), ("fails", 2), ("is busy", 1)])
def test_a_command_that_telnyx_did_not_take_is_given_when_it_tells_the_same_again(
    line: TelnyxLine, server: TelnyxServer, record: Record, number: str, fault: Any, times: int
) -> None:
    leg = line.switch.ring("v3:refused", to=number, from_=CALLER)
    ring = SIGNER.request(line.switch.pending.pop())
    server.fail(fault, times)

    answers = [line.send(ring) for _ in range(2)]
    line.pump()

    assert [answer.status_code for answer in answers] == [502, 200]
    assert answers[0].json["code"] == "carrier-failed"
    assert heard(leg) == ["Acme here."]
    assert record.said == ["agent: Acme here."]


# --- Transfers, voicemail, recordings -----------------------------------------------------------


@pytest.fixture
def sales() -> str:
    """The number behind the name."""
    return fresh_number()


@pytest.fixture
def sold(line: TelnyxLine, acme: Tenant, says: Says, sales: str) -> Leg:
    """A call on its way to sales."""
    targets = {"sales": {"number": sales, "description": "buys"}}
    acme.profile(greeting="Acme here.", tools=["transfer"], transfer_targets=targets)
    says(["I connect you.", transfer("sales")], ["At nine."])
    leg = line.ring(acme.number(provider_type="telnyx")["did_number"])
    line.say(leg, "Sales, please.")
    return leg


def test_a_caller_is_told_and_then_connected_and_the_call_ends_with_the_leg(
    line: TelnyxLine, record: Record, sold: Leg, sales: str
) -> None:
    assert ordered(sold)[-3:] == ["speak", "stop_transcription", "transfer"]
    assert not sold.transcribing  # what they say to each other is not for us
    assert sold.target is not None
    assert sold.target.to == sales
    assert record.end == ("transferring", None)

    line.switch.bridge(sold)
    line.pump()
    line.switch.part(sold)
    line.pump()

    assert record.end == ("completed", "transferred")


@pytest.mark.parametrize(
    "cause", ["user_busy", "call_rejected", "timeout", "no_answer", "not_found", "unspecified"]
)
def test_a_transfer_that_reaches_nobody_brings_the_agent_back(
    line: TelnyxLine, record: Record, sold: Leg, cause: str
) -> None:
    line.switch.part(sold, cause)
    line.pump()
    line.say(sold, "When are they in?")

    assert NOBODY in heard(sold)[-2]
    assert heard(sold)[-1] == "At nine."
    assert record.end == ("in_progress", None)


def test_a_caller_who_gives_up_while_it_rings_there_has_hung_up(
    line: TelnyxLine, record: Record, sold: Leg
) -> None:
    line.put_down(sold)

    assert record.end == ("completed", "caller_hangup")


def test_a_forward_that_reaches_nobody_does_not_leave_the_caller_in_silence(
    line: TelnyxLine, acme: Tenant, sales: str
) -> None:
    number = acme.number(provider_type="telnyx", mode="forward", forward_to=sales)
    leg = line.ring(number["did_number"])
    assert ordered(leg) == ["answer", "transfer"]

    line.switch.part(leg, "user_busy")
    line.pump()

    assert ordered(leg) == ["answer", "transfer", "hangup"]
    assert not leg.alive


@pytest.fixture
def night(line: TelnyxLine, acme: Tenant) -> str:
    """A number whose callers may leave a message now."""
    acme.patch("/settings", {"sentences": {"closed": "Leave us a message."}})
    acme.profile()
    hours = {"weekly": {}, "closed_action": "voicemail"}
    found: str = acme.number(provider_type="telnyx", hours=hours)["did_number"]
    return found


@pytest.mark.parametrize("who", ["the caller", "the tape"])
def test_what_a_caller_leaves_is_a_message_with_its_audio(
    line: TelnyxLine, record: Record, world: World, night: str, who: str
) -> None:
    leg = line.ring(night)
    assert ordered(leg) == ["answer", "speak", "start_recording"]

    if who == "the tape":
        line.switch.fill(leg)
        line.pump()
    else:
        line.put_down(leg)
    world.work(record.tenant)

    assert not leg.alive
    assert record.end == ("completed", "voicemail")
    [message] = record.messages
    assert record.tenant.api.get(message["audio"]).data == b"RIFF of " + leg.id.encode()
    assert line.switch.recordings == {}


def test_the_tape_runs_once_the_caller_knows_and_its_audio_is_fetched(
    line: TelnyxLine, acme: Tenant, record: Record, world: World
) -> None:
    acme.profile(greeting="Acme here.", recording=True)
    leg = line.ring(acme.number(provider_type="telnyx")["did_number"])

    line.put_down(leg)
    world.work(record.tenant)

    assert ordered(leg)[:5] == [
        *("answer", "start_transcription", "speak"),
        *("start_recording", "gather_using_speak"),
    ]
    assert heard(leg) == ["This call is recorded.", "Acme here."]
    audio = acme.get(f"/calls/{record.call['id']}/recording")
    assert audio.data == b"RIFF of " + leg.id.encode()
    assert line.switch.recordings == {}


# --- Calls that we place ------------------------------------------------------------------------


@pytest.fixture
def placed(line: TelnyxLine, acme: Tenant, number: str, world: World) -> Leg:
    """A call of acme's that rings somewhere."""
    [own] = acme.get("/phone-numbers").json
    with tenant_session(acme.ref) as session:
        to = fresh_number()
        call = outbound_calls.place_call(session, to=to, from_phone_number_id=UUID(own["id"]))
        ref = CallRef(acme.ref, call.id)
    outbound_calls.dial(ref)
    line.pump()
    [leg] = line.switch.dialled.values()
    return leg


def test_whom_we_call_is_greeted_and_heard(
    line: TelnyxLine, record: Record, says: Says, placed: Leg, number: str
) -> None:
    says(["At nine."])
    assert (placed.from_, record.call["provider_call_id"]) == (number, placed.id)

    line.switch.pick_up(placed)
    line.pump()
    line.say(placed, "When?")
    line.put_down(placed)

    assert heard(placed) == ["Acme here.", "At nine."]
    assert record.end == ("completed", "caller_hangup")


@pytest.mark.parametrize(
    ("cause", "reason"),
    [("user_busy", "busy"), ("timeout", "no_answer"), ("not_found", "invalid_number")],
)
def test_whom_we_do_not_reach_fails_the_call(
    line: TelnyxLine, record: Record, placed: Leg, cause: str, reason: str
) -> None:
    line.switch.put_down(placed, cause)
    line.pump()

    assert record.end == ("failed", reason)


def test_a_call_that_we_placed_is_transferred_with_our_number(
    line: TelnyxLine, acme: Tenant, says: Says, placed: Leg, number: str, sales: str
) -> None:
    says([transfer("sales")])
    line.switch.pick_up(placed)
    line.pump()
    line.say(placed, "Sales, please.")
    assert placed.target is None  # the profile of this call knows no such target

    carrier = providers.current_carriers().adapter("telnyx")
    assert carrier is not None
    order = CallReply((Transfer(sales),), "token")
    carrier.update_live_call(placed.id, order, callback_url=f"{BASE_URL}/telephony/telnyx/")

    assert placed.target is not None
    assert placed.target.from_ == number


# --- Whatever Telnyx repeats, in whatever order -------------------------------------------------


def _shuffled(seed: int) -> Callable[[Sequence[dict[str, Any]]], Sequence[dict[str, Any]]]:
    """Every event twice, in any order of those that are on their way."""
    dice = random.Random(seed)

    def sent(events: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        doubled = [*events, *events]
        dice.shuffle(doubled)
        return doubled

    return sent


@pytest.mark.parametrize("seed", range(6))
def test_events_in_any_order_and_twice_are_the_same_call(
    line: TelnyxLine, acme: Tenant, record: Record, says: Says, sales: str, seed: int
) -> None:
    targets = {"sales": {"number": sales, "description": "buys"}}
    acme.profile(
        greeting="Acme here.", tools=["transfer"], transfer_targets=targets, recording=True
    )
    says(["At nine."], ["Two it is."], ["I connect you.", transfer("sales")], ["Goodbye."])
    line.sent = _shuffled(seed)

    leg = line.ring(acme.number(provider_type="telnyx")["did_number"])
    line.say(leg, "When?")
    line.keep_silent(leg)
    line.press(leg, "2")
    line.say(leg, "Sales, please.")
    line.switch.part(leg, "user_busy")
    line.pump()
    line.put_down(leg)

    assert [turn["speaker"] for turn in record.turns] == [
        *("agent", "caller", "agent", "agent"),
        *("caller", "agent", "caller", "agent", "agent"),
    ]
    assert record.end == ("completed", "caller_hangup")
    assert _events(record) == ["ANSWERED", "ENDED", "RINGING"]
    assert heard(leg)[:3] == ["This call is recorded.", "Acme here.", "At nine."]
    assert len(heard(leg)) == 7


# --- Not Telnyx ---------------------------------------------------------------------------------


def test_what_is_not_signed_is_403_and_nothing_is_written(
    line: TelnyxLine, acme: Tenant, number: str
) -> None:
    ring = accounts.event("call.initiated", to=number, direction="incoming")
    genuine = SIGNER.request(ring)

    for forged in (
        replace(genuine, headers={}),
        replace(genuine, body=genuine.body + b" "),
        Signer().request(ring),
        SIGNER.request(accounts.event("call.initiated", to=number, connection_id="999")),
    ):
        assert line.send(forged).status_code == 403

    assert acme.get("/calls").json == []
    assert line.switch.legs == {}


def test_another_deployments_token_is_not_ours(line: TelnyxLine, acme: Tenant, number: str) -> None:
    leg = line.ring(number)
    mark = LegState("listening", "another.token", leg.id)
    heard_of = {"transcript": "Hello?", "is_final": True}

    forged = accounts.event(
        "call.transcription", call_id=leg.id, mark=mark, transcription_data=heard_of
    )

    assert line.send(SIGNER.request(forged)).status_code == 400


def test_what_says_nothing_to_the_product_is_taken_and_not_looked_into(line: TelnyxLine) -> None:
    mark = LegState("listening", "another.token", "v3:elsewhere")

    line.tell(accounts.event("call.bridged", mark=mark))

    assert line.switch.legs == {}
