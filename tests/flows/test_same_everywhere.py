"""One conversation on every line that there is: what is on record does not tell which it was."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.carriers.players import (
    Caller,
    OnFake,
    OnTelnyx,
    OnTelnyxRelay,
    OnTwilio,
    OnTwilioRelay,
)
from tests.carriers.sockets import serving
from tests.carriers.telnyx.accounts import BASE_URL, adapter_of, fresh
from tests.carriers.telnyx.line import TelnyxLine
from tests.carriers.telnyx.server import telnyx_server
from tests.carriers.telnyx.signing import Signer
from tests.carriers.twilio.line import TwilioCall
from tests.carriers.twilio.rig import rig
from tests.doubles.hostile_model import transfer
from tests.doubles.models import Rehearsed
from tests.flows.conftest import Record
from tests.support.api import Api
from tests.support.carrier_line import CarrierLine
from tests.support.world import Tenant, fresh_number
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
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for words that no telephone speaks."""
    monkeypatch.setattr(conversation, "CHARACTERS_PER_SECOND", 10_000)
    monkeypatch.setattr(conversation, "KEY_GAP_S", 0.1)


@pytest.fixture(params=LINES)
def caller(
    request: pytest.FixtureRequest,
    acme: Tenant,
    settings: Settings,
    anonymous: Api,
    says: Callable[..., Rehearsed],
) -> Iterator[Caller]:
    """Who calls acme, on this line."""
    says(
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
        line = CarrierLine(request.getfixturevalue("real"), anonymous)
        yield OnFake(line, acme.number()["did_number"])
        return
    slots = 5 if relay else 0
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=slots))
    with serving() as at:
        begun = _telnyx if carrier == "telnyx" else _twilio
        yield from begun(settings, anonymous, acme, at if slots else None)


def _twilio(settings: Settings, api: Api, acme: Tenant, at: str | None) -> Iterator[Caller]:
    with rig() as made:
        providers.set_current_carriers(providers.Carriers(settings)).register(made.adapter)
        number = acme.number(provider_type="twilio")["did_number"]
        made.account.own(number)
        call = TwilioCall(api, number)
        yield OnTwilioRelay(call, at) if at else OnTwilio(call)


def _telnyx(settings: Settings, api: Api, acme: Tenant, at: str | None) -> Iterator[Caller]:
    signer = Signer()
    call_services.set_current_services(
        replace(call_services.current_services(), public_base_url=BASE_URL)
    )
    with telnyx_server() as server, fresh(server):
        providers.set_current_carriers(providers.Carriers(settings)).register(
            adapter_of(server, signer)
        )
        number = acme.number(provider_type="telnyx")["did_number"]
        line = TelnyxLine(server, signer, api)
        yield OnTelnyxRelay(line, number, at) if at else OnTelnyx(line, number)


def test_a_conversation_is_the_same_on_every_line(caller: Caller, record: Record) -> None:
    heard = [
        caller.ring(),
        caller.say("Are you open?"),
        caller.press("12"),
        caller.stay_silent(),
        caller.say("Sales, please."),
    ]
    assert caller.leave() == ""
    back = caller.transfer_is_busy()
    bye = caller.say("Goodbye!")
    caller.leave()
    caller.hang_up()

    assert heard == ["Acme here.", "At nine.", "That is twelve.", SORRY, "I connect you."]
    assert NOBODY in back
    assert record.said[: len(HELD)] == HELD
    assert record.said[len(HELD) :] == [f"agent: {back}", "caller: Goodbye!", f"agent: {bye}"]
    assert record.end == ("completed", "agent_hangup")
    assert _events(record) == {"RINGING", "ANSWERED", "ENDED"}
    transfer: Any = record.tenant.get(f"/calls/{record.call['id']}").json["transfer"]
    assert transfer["status"] == "busy"


def _events(record: Record) -> set[str]:
    events = record.tenant.get(f"/calls/{record.call['id']}/events").json
    return {event["event_type"] for event in events}
