"""The same conversation leaves the same record on every carrier and transport."""

from collections.abc import Callable, Iterator

import pytest

from tests.fakes.carriers.call_scripts import (
    OnFakeCarrier,
    OnTelnyx,
    OnTelnyxRelay,
    OnTwilio,
    OnTwilioRelay,
    ScriptedCaller,
)
from tests.fakes.carriers.carrier_websocket import run_relay
from tests.fakes.carriers.telnyx.accounts import BASE_URL, create_adapter, new_account
from tests.fakes.carriers.telnyx.carrier_client import TelnyxCarrierClient
from tests.fakes.carriers.telnyx.server import telnyx_server
from tests.fakes.carriers.telnyx.signing import Signer
from tests.fakes.carriers.twilio.call import TwilioCall
from tests.fakes.carriers.twilio.connected_twilio import connected_twilio
from tests.fakes.hostile_model import transfer
from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant, fresh_number
from tests.support.services import use_carriers, use_settings
from vca.servers.relay import conversation
from vca.settings import Settings
from vca.telephony import providers

CARRIERS = ("fake", "twilio", "twilio relay", "telnyx", "telnyx relay")
SILENCE_SENTENCE = "Sorry, I did not catch that. Could you say it again?"
UNREACHED_TEXT = "nobody could be reached"
TRANSCRIPT_UNTIL_TRANSFER = [
    "agent: Acme here.",
    "caller: Are you open?",
    "agent: At nine.",
    "caller: (pressed 1 2)",
    "agent: That is twelve.",
    f"agent: {SILENCE_SENTENCE}",
    "caller: Sales, please.",
    "agent: I connect you.",
]


@pytest.fixture(autouse=True)
def fast_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the server assume fast speech, so that tests do not wait for it."""
    monkeypatch.setattr(conversation, "CHARACTERS_PER_SECOND", 10_000)
    monkeypatch.setattr(conversation, "KEY_GAP_S", 0.1)


@pytest.fixture(params=CARRIERS)
def caller(
    request: pytest.FixtureRequest,
    acme: Tenant,
    settings: Settings,
    anonymous: Api,
    script_model: Callable[..., SequenceModel],
) -> Iterator[ScriptedCaller]:
    """Return a caller of acme on this carrier and transport."""
    script_model(
        ["At nine."],
        ["That is twelve."],
        ["I connect you.", transfer("sales")],
        ["Goodbye."],
    )
    acme.profile(
        greeting="Acme here.",
        silence_seconds=3,
        tools=["end_call", "transfer"],
        transfer_targets={"sales": {"number": fresh_number(), "description": "buys"}},
        end_phrases=["goodbye"],
    )
    carrier, _, transport = request.param.partition(" ")
    if carrier == "fake":
        carrier_client = CarrierClient(request.getfixturevalue("real_carrier"), anonymous)
        yield OnFakeCarrier(carrier_client, acme.number()["did_number"])
        return
    slots = 5 if transport else 0
    use_settings(relay_slots=slots)
    with run_relay() as relay_url:
        new_caller = _telnyx_caller if carrier == "telnyx" else _twilio_caller
        yield from new_caller(settings, anonymous, acme, relay_url if slots else None)


def _twilio_caller(
    settings: Settings, api: Api, acme: Tenant, relay_url: str | None
) -> Iterator[ScriptedCaller]:
    with connected_twilio() as twilio:
        use_carriers(providers.Carriers(settings)).register(twilio.adapter)
        number = acme.number(provider_type="twilio")["did_number"]
        twilio.account.add_number(number)
        call = TwilioCall(api, number)
        yield OnTwilioRelay(call, relay_url) if relay_url else OnTwilio(call)


def _telnyx_caller(
    settings: Settings, api: Api, acme: Tenant, relay_url: str | None
) -> Iterator[ScriptedCaller]:
    signer = Signer()
    use_settings(public_base_url=BASE_URL)
    with telnyx_server() as server, new_account(server):
        use_carriers(providers.Carriers(settings)).register(create_adapter(server, signer))
        number = acme.number(provider_type="telnyx")["did_number"]
        carrier_client = TelnyxCarrierClient(server, signer, api)
        if relay_url:
            yield OnTelnyxRelay(carrier_client, number, relay_url)
        else:
            yield OnTelnyx(carrier_client, number)


def test_a_conversation_leaves_the_same_record_on_every_carrier(
    caller: ScriptedCaller, call_record: CallRecord
) -> None:
    spoken_texts = [
        caller.ring(),
        caller.say("Are you open?"),
        caller.press("12"),
        caller.stay_silent(),
        caller.say("Sales, please."),
    ]
    assert caller.finish_turn() == ""
    return_text = caller.transfer_is_busy()
    goodbye_text = caller.say("Goodbye!")
    caller.finish_turn()
    caller.hang_up()

    assert spoken_texts == [
        "Acme here.",
        "At nine.",
        "That is twelve.",
        SILENCE_SENTENCE,
        "I connect you.",
    ]
    assert UNREACHED_TEXT in return_text
    assert call_record.transcript[: len(TRANSCRIPT_UNTIL_TRANSFER)] == TRANSCRIPT_UNTIL_TRANSFER
    assert call_record.transcript[len(TRANSCRIPT_UNTIL_TRANSFER) :] == [
        f"agent: {return_text}",
        "caller: Goodbye!",
        f"agent: {goodbye_text}",
    ]
    assert call_record.end_state == ("completed", "agent_hangup")
    assert _list_event_types(call_record) == {"RINGING", "ANSWERED", "ENDED"}
    response = call_record.tenant.get(f"/calls/{call_record.call['id']}")
    assert response.json["transfer"]["status"] == "busy"


def _list_event_types(record: CallRecord) -> set[str]:
    events = record.tenant.get(f"/calls/{record.call['id']}/events").json
    return {event["event_type"] for event in events}
