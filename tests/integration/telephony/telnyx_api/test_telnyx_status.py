"""Tests of the status look-up of calls, and of WebRTC credentials."""

from datetime import timedelta

import pytest

from tests.contract.suites.telephony import outbound_call
from tests.fakes.carriers.telnyx import accounts
from tests.fakes.carriers.telnyx.accounts import NUMBER, create_adapter
from tests.fakes.carriers.telnyx.calls import Leg
from tests.fakes.carriers.telnyx.server import API_KEY, TelnyxServer
from tests.integration.telephony.telnyx_api.conftest import SIGNER
from vca.kit import clock
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import Account

# --- Status look-up ---


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

    assert adapter.find_call(request) == call


# --- WebRTC ---


def test_a_webrtc_credential_is_new_and_expires(telnyx: TelnyxServer) -> None:
    adapter = create_adapter(telnyx, SIGNER, telnyx_credential_connection_id="777")

    credential = adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    [created] = telnyx.account.credentials.values()
    assert credential.token == f"ey.token-of.{created['id']}"
    assert credential.identity == created["sip_username"]
    assert (created["connection_id"], created["name"]) == ("777", "jane")
    assert created["expires_at"] == credential.expires_at.isoformat()
    assert timedelta() < credential.expires_at - clock.now() <= timedelta(seconds=600)


def test_without_a_credential_connection_webrtc_is_a_permanent_error(
    adapter: TelnyxAdapter,
) -> None:
    with pytest.raises(TelephonyError) as raised:
        adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    assert (raised.value.permanent, raised.value.code) == (True, "not-set-up")


def test_a_tenant_account_uses_its_own_credential_connection(telnyx: TelnyxServer) -> None:
    fields = {"api_key": API_KEY, "public_key": SIGNER.public_key, "connection_id": "1"}
    settings = accounts.telnyx_settings(telnyx, SIGNER)
    adapter = TelnyxAdapter.from_account(
        settings, Account({**fields, "credential_connection_id": "888"})
    )
    adapter_without_connection = TelnyxAdapter.from_account(settings, Account(fields))

    adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    [created] = telnyx.account.credentials.values()
    assert created["connection_id"] == "888"
    with pytest.raises(TelephonyError, match="no credential connection"):
        adapter_without_connection.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)
