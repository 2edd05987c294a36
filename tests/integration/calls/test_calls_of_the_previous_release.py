"""Calls that were live when this release was deployed: their unsigned states count for a while."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import text

from tests.fakes.carriers.call_scripts import url_token
from tests.fakes.carriers.carrier_websocket import (
    CarrierWebSocket,
    handshake_is_refused,
    run_relay,
)
from tests.fakes.carriers.telnyx.calls import Leg
from tests.fakes.carriers.telnyx.carrier_client import TelnyxCarrierClient, spoken_texts
from tests.fakes.carriers.twilio.call import TwilioCall, send
from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN
from tests.fakes.carriers.twilio.webhooks import (
    inbound_form,
    outbound_form,
    signed_request,
    socket_signature,
)
from tests.fakes.hostile_model import transfer
from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord
from tests.integration.calls.telnyx.conftest import carrier_client as telnyx_client
from tests.integration.calls.telnyx.conftest import server
from tests.integration.calls.test_twilio import twilio
from tests.support import admin_db, previous_release
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services, use_settings
from vca.registry import unsigned_states
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

__all__ = ["server", "telnyx_client", "twilio"]
ScriptModel = Callable[..., SequenceModel]
OVER = "now() - interval '1 ms'"


def _make_old(leg: Leg) -> None:
    """Give the leg the state that the previous release would have given it."""
    leg.client_state = previous_release.client_state_of(leg.client_state)


@pytest.fixture
def targets(acme: Tenant, script_model: ScriptModel) -> None:
    """Create an agent that transfers callers at their first utterance."""
    number = {"number": fresh_number(), "description": "buys"}
    acme.profile(greeting="Acme here.", tools=["transfer"], transfer_targets={"sales": number})
    script_model(["I connect you.", transfer("sales")], ["At nine."])


# --- Telnyx ---


def _talk_on_telnyx(telnyx_client: TelnyxCarrierClient, leg: Leg) -> None:
    """Talk, be transferred to a busy target and talk again, always with states of that release."""
    _make_old(leg)
    telnyx_client.say(leg, "Sales, please.")
    assert leg.target is not None
    _make_old(leg)
    _make_old(leg.target)
    telnyx_client.switch.end_target(leg, "user_busy")
    telnyx_client.deliver_events()
    _make_old(leg)
    telnyx_client.say(leg, "When do you open?")
    _make_old(leg)
    telnyx_client.hang_up(leg)


@pytest.mark.usefixtures("targets")
def test_a_telnyx_call_goes_on_and_ends(
    telnyx_client: TelnyxCarrierClient, acme: Tenant, call_record: CallRecord
) -> None:
    leg = telnyx_client.ring(acme.number(provider_type="telnyx")["did_number"])

    with previous_release.accept_unsigned_states():
        _talk_on_telnyx(telnyx_client, leg)

    assert spoken_texts(leg)[-1] == "At nine."
    assert call_record.end_state == ("completed", "caller_hangup")


@pytest.mark.parametrize("until", ["now() + interval '15 minutes'", OVER])
def test_a_telnyx_call_that_the_previous_release_answers_is_greeted(
    telnyx_client: TelnyxCarrierClient, acme: Tenant, until: str
) -> None:
    acme.profile(greeting="Acme here.")
    number = acme.number(provider_type="telnyx")["did_number"]
    leg = telnyx_client.switch.ring("v3:old", to=number, from_="+14155550123")
    ringing, telnyx_client.switch.pending = telnyx_client.switch.pending, []
    telnyx_client.deliver_event(ringing[0])
    [answered] = telnyx_client.switch.pending
    answered["data"]["payload"]["client_state"] = previous_release.client_state_of(leg.client_state)

    with previous_release.accept_unsigned_states(until=until):
        telnyx_client.deliver_events()

    assert spoken_texts(leg) == ([] if until == OVER else ["Acme here."])


def test_a_telnyx_call_of_the_previous_release_ends_after_its_goodbye(
    telnyx_client: TelnyxCarrierClient, acme: Tenant, call_record: CallRecord
) -> None:
    acme.profile(greeting="Acme here.", end_phrases=["goodbye"])
    leg = telnyx_client.ring(acme.number(provider_type="telnyx")["did_number"])
    telnyx_client.switch.say(leg, "Goodbye.")
    [utterance], telnyx_client.switch.pending = telnyx_client.switch.pending, []
    telnyx_client.deliver_event(utterance)
    for event in telnyx_client.switch.pending:
        payload = event["data"]["payload"]
        payload["client_state"] = previous_release.client_state_of(payload["client_state"])

    with previous_release.accept_unsigned_states():
        telnyx_client.deliver_events()

    assert not leg.alive
    assert call_record.end_state == ("completed", "agent_hangup")


def test_a_telnyx_state_of_the_previous_release_is_ignored_later(
    telnyx_client: TelnyxCarrierClient, acme: Tenant, call_record: CallRecord
) -> None:
    acme.profile(greeting="Acme here.")
    leg = telnyx_client.ring(acme.number(provider_type="telnyx")["did_number"])
    commands = list(leg.commands)
    _make_old(leg)

    with previous_release.accept_unsigned_states(until=OVER):
        telnyx_client.say(leg, "When do you open?")

    assert leg.commands == commands
    assert call_record.transcript == ["agent: Acme here."]


# --- Twilio ---


@pytest.fixture
def twilio_call(anonymous: Api, acme: Tenant, twilio: object, targets: None) -> TwilioCall:
    """Return a call on Twilio that follows the URLs of the previous release."""
    number = str(acme.number(provider_type="twilio")["did_number"])
    call = TwilioCall(anonymous, number)
    call.ring()
    call.alter_url = lambda url: previous_release.callback_url(url) if "?" in url else url
    return call


def test_a_twilio_call_goes_on_and_ends(twilio_call: TwilioCall, call_record: CallRecord) -> None:
    with previous_release.accept_unsigned_states():
        assert "Dial" in twilio_call.say("Sales, please.").verbs
        twilio_call.end_leg("busy")
        answer = twilio_call.say("When do you open?")
        twilio_call.hang_up()

    assert answer.spoken_text == "At nine."
    assert call_record.end_state == ("completed", "caller_hangup")


def _end_gather(call: TwilioCall, sid: str) -> int:
    """Send an utterance with the call's URL of the previous release; return the status code."""
    assert call.twiml is not None
    url = call.alter_url(call.twiml.next_url("Gather"))
    form = inbound_form(sid, to=call.to, caller=call.caller)
    return send(
        call.api, signed_request(ACCOUNT_LOGIN, url, {**form, "SpeechResult": "Hi"})
    ).status_code


def test_a_twilio_url_of_the_previous_release_is_refused_later(
    twilio_call: TwilioCall, call_record: CallRecord
) -> None:
    with previous_release.accept_unsigned_states(until=OVER):
        assert _end_gather(twilio_call, twilio_call.sid) == 400

    assert call_record.transcript == ["agent: Acme here."]


def test_a_twilio_url_of_the_previous_release_is_refused_to_another_call(
    twilio_call: TwilioCall, call_record: CallRecord
) -> None:
    with previous_release.accept_unsigned_states():
        assert _end_gather(twilio_call, f"CA{9:032x}") == 400

    assert call_record.transcript == ["agent: Acme here."]


@pytest.mark.parametrize("until", ["now() + interval '15 minutes'", OVER])
def test_a_placed_twilio_call_ends(
    anonymous: Api, acme: Tenant, twilio: object, targets: None, world: Factory, until: str
) -> None:
    phone_number, callee = acme.number(provider_type="twilio"), fresh_number()
    body = {"to": callee, "from_phone_number_id": phone_number["id"]}
    call = acme.post("/calls", body).json
    world.run_jobs(acme)
    [form] = twilio.requests_to("POST", "Calls.json")  # type: ignore[attr-defined] # the fixture's
    [call_sid] = twilio.account.calls  # type: ignore[attr-defined] # the fixture's

    def post(url: str, status: str) -> int:
        number = phone_number["did_number"]
        status_form = outbound_form(call_sid, to=callee, caller=number, status=status)
        old_url = previous_release.callback_url(url)
        return send(anonymous, signed_request(ACCOUNT_LOGIN, old_url, status_form)).status_code

    with previous_release.accept_unsigned_states(until=until):
        codes = post(form["Url"][0], "in-progress"), post(form["StatusCallback"][0], "completed")

    is_accepted = until != OVER
    assert codes == ((200, 200) if is_accepted else (400, 200))
    status = acme.get(f"/calls/{call['id']}").json["status"]
    assert status == ("completed" if is_accepted else "queued")


# --- The fake carrier, whose state is the token alone ---


def test_a_token_of_the_previous_release_counts_for_its_own_call(
    carrier: FakeTelephonyAdapter, anonymous: Api, acme: Tenant
) -> None:
    client = CarrierClient(carrier, anonymous)
    acme.profile(greeting="Acme here.")
    number = acme.number()["did_number"]
    token = previous_release.state_token(client.ring(number, "call-1")["state"])
    client.ring(number, "call-2")

    def say(call_id: str) -> int:
        request = client.build_request("speech", call_id=call_id, state=token, text="Hi")
        return client.send(request).status_code

    with previous_release.accept_unsigned_states():
        own_call, other_call = say("call-1"), say("call-2")
    with previous_release.accept_unsigned_states(until=OVER):
        later = say("call-1")

    assert (own_call, other_call, later) == (200, 400, 400)


# --- Voice WebSockets ---


@pytest.fixture
def relay_url(app: Flask) -> Iterator[str]:
    use_settings(relay_slots=9)
    with run_relay() as url:
        yield url
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


@pytest.mark.parametrize("is_accepted", [True, False])
def test_twilio_opens_the_websocket_of_the_previous_release(
    relay_url: str, twilio: object, anonymous: Api, acme: Tenant, *, is_accepted: bool
) -> None:
    """That release gave Twilio a URL without a token, which a reconnection uses again."""
    acme.profile(greeting="Acme here.")
    call = TwilioCall(anonymous, str(acme.number(provider_type="twilio")["did_number"]))
    document = call.ring()
    signature = socket_signature(ACCOUNT_LOGIN, "/telephony/twilio/relay")
    headers = {"X-Twilio-Signature": signature}
    token = document.find("Parameter").get("value")
    setup = {"callSid": call.sid, "customParameters": {"token": token}}
    assert url_token(document.find("ConversationRelay").get("url"))

    window: AbstractContextManager[None] = (
        previous_release.accept_unsigned_states()
        if is_accepted
        else previous_release.accept_unsigned_states(until=OVER)
    )
    with window:
        if not is_accepted:
            assert handshake_is_refused(f"{relay_url}twilio/relay", headers)
            return
        assert handshake_is_refused(f"{relay_url}twilio/relay", {})
        for _ in range(2):
            socket = CarrierWebSocket(f"{relay_url}twilio/relay", setup=setup, headers=headers)
            assert socket.say("Hello?")
            socket.break_connection()


def test_telnyx_which_signs_no_handshake_needs_a_token_at_any_time(
    relay_url: str, telnyx_client: TelnyxCarrierClient
) -> None:
    with previous_release.accept_unsigned_states():
        assert handshake_is_refused(f"{relay_url}telnyx/relay", {})


# --- Once in the life of a database ---


def _accepted_until() -> datetime | None:
    with admin_db.public_session() as session:
        until: datetime | None = session.scalar(
            text("SELECT unsigned_states_until FROM public.deployment")
        )
    return until


@pytest.mark.usefixtures("app")
def test_the_first_start_accepts_unsigned_states_for_15_minutes_and_no_later_one_does() -> None:
    with previous_release.accept_unsigned_states(until="NULL"):
        assert unsigned_states.are_accepted(services=app_services())
        first = _accepted_until()
        assert unsigned_states.are_accepted(services=app_services())
        assert _accepted_until() == first

        with admin_db.public_session() as session:
            minutes = session.scalar(
                text("SELECT unsigned_states_until - now() FROM public.deployment")
            )
            session.execute(text(f"UPDATE public.deployment SET unsigned_states_until = {OVER}"))
        assert timedelta(minutes=14, seconds=50) < minutes <= timedelta(minutes=15)
        over = _accepted_until()
        assert not unsigned_states.are_accepted(services=app_services())
        assert _accepted_until() == over


@pytest.mark.usefixtures("app")
def test_a_new_database_accepts_none() -> None:
    assert not unsigned_states.are_accepted(services=app_services())
