"""Tests of the status look-up of calls."""

import pytest

from tests.contract.suites.telephony import outbound_call
from tests.fakes.carriers.telnyx import accounts
from tests.fakes.carriers.telnyx.calls import Leg
from tests.fakes.carriers.telnyx.server import TelnyxServer
from tests.integration.telephony.telnyx_api.conftest import SIGNER
from tests.support import permits
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.client_state import LegState


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ("normal_clearing", ("ENDED", "caller_hangup", "normal_clearing")),
        ("user_busy", ("FAILED", "busy", "user_busy")),
    ],
)
def test_a_missed_end_is_found_with_its_cause_and_event_key(
    telnyx: TelnyxServer,
    adapter: TelnyxAdapter,
    leg: Leg,
    cause: str,
    expected: tuple[str, str, str],
) -> None:
    telnyx.account.switch.end_leg(leg, cause)

    status = adapter.find_call_status(leg.id)

    assert status is not None
    assert status.event is not None
    event = status.event
    assert (event.event_type, event.end_reason, event.end_detail) == expected
    missed_event = adapter.parse(SIGNER.request(telnyx.account.switch.pending[-1]))
    assert missed_event.event is not None
    assert missed_event.event.key == event.key


def test_an_end_without_an_event_at_telnyx_is_reported_as_lost(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, leg: Leg
) -> None:
    telnyx.account.switch.end_leg(leg)
    telnyx.account.switch.events.clear()

    status = adapter.find_call_status(leg.id)

    assert status is not None
    assert status.event is not None
    assert (status.event.event_type, status.event.end_reason) == ("FAILED", "lost")


def test_a_call_that_is_being_dialled_has_no_end_event(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    call = adapter.place_call(outbound_call())
    telnyx.account.switch.legs[call].alive = False  # Telnyx reports this until the call rings

    status = adapter.find_call_status(call)

    assert status is not None
    assert status.event is None


def test_an_ended_outbound_call_is_found_in_the_event_log(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    request = outbound_call()
    call = adapter.place_call(request)
    leg = telnyx.account.switch.legs[call]
    leg.client_state = LegState("listening", "token", call).encode(accounts.STATE_SIGNER)
    telnyx.account.switch.end_leg(leg)

    assert adapter.find_call(permits.query_for(request)) == call
