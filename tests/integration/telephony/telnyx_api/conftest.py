"""Fixtures and helpers for requests to a fake of Telnyx's API."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.suites.telephony import CALLBACK, CALLER
from tests.fakes.carriers.telnyx.accounts import NUMBER, create_adapter, leg_event, new_account
from tests.fakes.carriers.telnyx.calls import Leg
from tests.fakes.carriers.telnyx.server import TelnyxServer, telnyx_server
from tests.fakes.carriers.telnyx.signing import Signer
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import CallReply, Listen, Say

SIGNER = Signer()
REPLY = CallReply((Say("Hello."), Listen()), "token")


@pytest.fixture(scope="module")
def server() -> Iterator[TelnyxServer]:
    with telnyx_server() as server:
        yield server


@pytest.fixture
def telnyx(server: TelnyxServer) -> Iterator[TelnyxServer]:
    with new_account(server):
        yield server


@pytest.fixture
def adapter(telnyx: TelnyxServer) -> TelnyxAdapter:
    return create_adapter(telnyx, SIGNER)


@pytest.fixture
def leg(telnyx: TelnyxServer) -> Leg:
    """Start an inbound call and mark it as answered."""
    leg = telnyx.account.switch.ring("v3:live", to=NUMBER, from_=CALLER)
    leg.answered = True
    return leg


def handle_event(
    adapter: TelnyxAdapter,
    leg: Leg,
    reply: CallReply,
    event: dict[str, Any] | None = None,
) -> None:
    """Let the adapter handle an event of the call, `call.answered` by default, with this reply."""
    event = event or leg_event(
        "call.answered", call_id=leg.id, mark=LegState("ring", "token", leg.id)
    )
    carrier_event = adapter.parse(SIGNER.request(event))
    response = adapter.handle(carrier_event, reply, callback_url=CALLBACK)
    assert (response.status, response.body) == (200, b"")
