"""One conversation on every line that there is: what is on record does not tell which it was."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

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
from vca.servers.relay import conversation
from vca.settings import Settings
from vca.telephony import providers
from vca.tenant.calls.core import call_services

LINES = ("fake", "twilio", "twilio relay", "telnyx", "telnyx relay")
SORRY = "Sorry, I did not catch that. Could you say it again?"
NOBODY = "nobody could be reached"
HELD = [
    "agent: Acme here.",
    "caller: Are you open?",
    "agent: At nine.",
    "caller: (pressed 1 2)",
    "agent: That is twelve.",
    f"agent: {SORRY}",
    "caller: Sales, please.",
    "agent: I connect you.",
]


@pytest.fixture(autouse=True)
def fast_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for words that no telephone speaks."""
    monkeypatch.setattr(conversation, "CHARACTERS_PER_SECOND", 10_000)
    monkeypatch.setattr(conversation, "KEY_GAP_S", 0.1)


@pytest.fixture(params=LINES)
def caller(
    request: pytest.FixtureRequest,
    acme: Tenant,
    settings: Settings,
    anonymous: Api,
    script_model: Callable[..., SequenceModel],
) -> Iterator[ScriptedCaller]:
    """Who calls acme, on this line."""
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
    carrier, _, relay = request.param.partition(" ")
    if carrier == "fake":
        line = CarrierClient(request.getfixturevalue("real_carrier"), anonymous)
        yield OnFakeCarrier(line, acme.number()["did_number"])
        return
    slots = 5 if relay else 0
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=slots))
    with run_relay() as at:
        begun = _telnyx if carrier == "telnyx" else _twilio
        yield from begun(settings, anonymous, acme, at if slots else None)


def _twilio(settings: Settings, api: Api, acme: Tenant, at: str | None) -> Iterator[ScriptedCaller]:
    with connected_twilio() as made:
        providers.set_current_carriers(providers.Carriers(settings)).register(made.adapter)
        number = acme.number(provider_type="twilio")["did_number"]
        made.account.add_number(number)
        call = TwilioCall(api, number)
        yield OnTwilioRelay(call, at) if at else OnTwilio(call)


def _telnyx(settings: Settings, api: Api, acme: Tenant, at: str | None) -> Iterator[ScriptedCaller]:
    signer = Signer()
    call_services.set_current_services(
        replace(call_services.current_services(), public_base_url=BASE_URL)
    )
    with telnyx_server() as server, new_account(server):
        providers.set_current_carriers(providers.Carriers(settings)).register(
            create_adapter(server, signer)
        )
        number = acme.number(provider_type="telnyx")["did_number"]
        line = TelnyxCarrierClient(server, signer, api)
        yield OnTelnyxRelay(line, number, at) if at else OnTelnyx(line, number)


def test_a_conversation_is_the_same_on_every_line(
    caller: ScriptedCaller, call_record: CallRecord
) -> None:
    heard = [
        caller.ring(),
        caller.say("Are you open?"),
        caller.press("12"),
        caller.stay_silent(),
        caller.say("Sales, please."),
    ]
    assert caller.finish_turn() == ""
    back = caller.transfer_is_busy()
    bye = caller.say("Goodbye!")
    caller.finish_turn()
    caller.hang_up()

    assert heard == ["Acme here.", "At nine.", "That is twelve.", SORRY, "I connect you."]
    assert NOBODY in back
    assert call_record.transcript[: len(HELD)] == HELD
    assert call_record.transcript[len(HELD) :] == [
        f"agent: {back}",
        "caller: Goodbye!",
        f"agent: {bye}",
    ]
    assert call_record.end_state == ("completed", "agent_hangup")
    assert _events(call_record) == {"RINGING", "ANSWERED", "ENDED"}
    transfer: Any = call_record.tenant.get(f"/calls/{call_record.call['id']}").json["transfer"]
    assert transfer["status"] == "busy"


def _events(record: CallRecord) -> set[str]:
    events = record.tenant.get(f"/calls/{record.call['id']}/events").json
    return {event["event_type"] for event in events}
