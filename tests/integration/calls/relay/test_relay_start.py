"""Calls over a voice WebSocket: slots, greetings and calls that use HTTP requests instead."""

from typing import Any

import pytest

from tests.fakes.carriers.twilio.call import TwilioCall
from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN, ConnectedTwilio
from tests.fakes.carriers.twilio.webhooks import outbound_form, signed_request
from tests.integration.calls.relay.conftest import ScriptModel, count_slots, open_socket
from tests.support.api import Api
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.processes import wait_until
from tests.support.services import use_settings
from vca.kit import db


def test_the_websocket_greets_the_caller_after_consent_and_recording_start(
    acme: Tenant, anonymous: Api, twilio: ConnectedTwilio, number: str
) -> None:
    profile = acme.profile(
        greeting="Hello.", recording=True, consent_sentence="We record.", voice="Polly.Amy"
    )
    recorded_number = acme.number(provider_type="twilio", ai_profile_id=profile["id"])["did_number"]

    twiml = TwilioCall(anonymous, number).ring()
    recorded_twiml = TwilioCall(anonymous, recorded_number).ring()

    assert twiml.verbs == ["Connect"]
    assert twiml.find("ConversationRelay").get("welcomeGreeting") == "Acme here."
    assert recorded_twiml.verbs == ["Say", "Start", "Connect"]
    relay = recorded_twiml.find("ConversationRelay")
    assert (recorded_twiml.spoken_text, relay.get("welcomeGreeting")) == ("We record.", "Hello.")
    assert (relay.get("ttsProvider"), relay.get("voice")) == ("Amazon", "Amy")


def test_without_slots_a_call_uses_http_requests(call: TwilioCall) -> None:
    use_settings(relay_slots=0)

    assert call.ring().verbs == ["Gather"]
    assert count_slots() == 0


def test_a_call_uses_http_requests_while_no_slot_is_free(
    anonymous: Api, relay_url: str, number: str
) -> None:
    use_settings(relay_slots=1)
    first, second, third = [TwilioCall(anonymous, number) for _ in range(3)]
    socket = open_socket(relay_url, first)
    assert second.ring().verbs == ["Gather"]

    socket.close()
    first.hang_up()

    wait_until(lambda: count_slots() == 0)
    assert third.ring().verbs == ["Connect"]


def test_a_call_uses_http_requests_when_no_slot_can_be_leased(
    call: TwilioCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_unavailable(*_: Any, **__: Any) -> None:
        raise db.DatabaseUnavailable

    monkeypatch.setattr(
        "vca.tenant.calls.carrier_webhooks.voice_websockets.public_connection", raise_unavailable
    )

    assert call.ring().verbs == ["Gather"]


def test_an_outbound_call_uses_a_websocket(
    anonymous: Api,
    relay_url: str,
    acme: Tenant,
    twilio: ConnectedTwilio,
    world: Factory,
    number: str,
    script_model: ScriptModel,
) -> None:
    script_model(["At nine."])
    [phone] = acme.get("/phone-numbers").json
    callee = fresh_number()
    twilio.account.add_number(number)
    acme.post("/calls", {"to": callee, "from_phone_number_id": phone["id"]})
    world.run_jobs(acme)
    [form] = twilio.requests_to("POST", "Calls.json")
    [call_sid] = twilio.account.calls
    call = TwilioCall(anonymous, number, sid=call_sid)

    answer_form = outbound_form(call_sid, to=callee, caller=number)
    twiml = call.deliver(signed_request(ACCOUNT_LOGIN, form["Url"][0], answer_form))

    assert twiml.verbs == ["Connect"]
    socket = open_socket(relay_url, call, twiml)
    assert socket.say("When do you open?") == "At nine."
    socket.close()
