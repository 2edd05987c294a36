"""Browser calls through Telnyx: only through a connection that parks outbound calls for VCA."""

from datetime import timedelta
from typing import Any

import pytest

from tests.fakes.carriers.telnyx import accounts
from tests.fakes.carriers.telnyx.accounts import BASE_URL, NUMBER, create_adapter, leg_event
from tests.fakes.carriers.telnyx.server import API_KEY, TelnyxServer
from tests.integration.telephony.telnyx_api.conftest import SIGNER
from vca.kit import clock
from vca.telephony.adapter import InvalidCarrierSignature, TelephonyError
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.types import Account, Caller

EVENTS_URL = f"{BASE_URL}/telephony/telnyx/events"
OTHER_NUMBER = "+14155550199"


@pytest.fixture
def adapter(telnyx: TelnyxServer) -> TelnyxAdapter:
    """Return the deployment's adapter, whose credential connection parks calls for VCA."""
    telnyx.account.add_credential_connection("777", events_url=EVENTS_URL)
    return create_adapter(
        telnyx, SIGNER, telnyx_credential_connection_id="777", telnyx_call_parking="on"
    )


def test_a_webrtc_credential_is_new_and_expires(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    credential = adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    [created] = telnyx.account.credentials.values()
    assert credential.token == f"ey.token-of.{created['id']}"
    assert credential.identity == created["sip_username"]
    assert (created["connection_id"], created["name"]) == ("777", "jane")
    assert created["expires_at"] == credential.expires_at.isoformat()
    assert timedelta() < credential.expires_at - clock.now() <= timedelta(seconds=600)


def test_credentials_of_different_numbers_differ_at_the_carrier(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    for number in (NUMBER, OTHER_NUMBER):
        adapter.create_webrtc_credential(number, identity="jane", ttl_s=600)

    tags = [created["tag"] for created in telnyx.account.credentials.values()]
    assert tags == [f"vca {NUMBER}", f"vca {OTHER_NUMBER}"]


def test_without_the_setting_the_account_supports_no_browsers(telnyx: TelnyxServer) -> None:
    telnyx.account.add_credential_connection("777", events_url=EVENTS_URL)
    adapter = create_adapter(telnyx, SIGNER, telnyx_credential_connection_id="777")

    assert not adapter.supports_webrtc
    with pytest.raises(TelephonyError) as raised:
        adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    assert (raised.value.permanent, raised.value.code) == (True, "not-set-up")
    assert telnyx.account.credentials == {}


@pytest.mark.parametrize(
    "connection",
    [
        {"events_url": EVENTS_URL, "parks_calls": False},
        {"events_url": "https://elsewhere.example.com/telephony/telnyx/events"},
        {"events_url": ""},
    ],
)
def test_a_connection_that_does_not_park_calls_for_vca_gives_no_credential(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, connection: dict[str, Any]
) -> None:
    telnyx.account.add_credential_connection("777", **connection)

    with pytest.raises(TelephonyError) as raised:
        adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    assert (raised.value.permanent, raised.value.code) == (True, "not-set-up")
    assert telnyx.account.credentials == {}


def test_a_tenant_account_uses_its_own_credential_connection(telnyx: TelnyxServer) -> None:
    fields = {"api_key": API_KEY, "public_key": SIGNER.public_key, "connection_id": "1"}
    settings = accounts.telnyx_settings(telnyx, SIGNER, telnyx_call_parking="on")
    telnyx.account.add_credential_connection("888", events_url=EVENTS_URL)
    adapter = TelnyxAdapter.from_account(
        settings, Account({**fields, "credential_connection_id": "888"})
    )
    adapter_without_connection = TelnyxAdapter.from_account(settings, Account(fields))

    adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)

    [created] = telnyx.account.credentials.values()
    assert created["connection_id"] == "888"
    with pytest.raises(TelephonyError, match="no credential connection"):
        adapter_without_connection.create_webrtc_credential(NUMBER, identity="jane", ttl_s=600)


def _parked_event() -> dict[str, Any]:
    return leg_event(
        "call.initiated",
        connection_id="777",
        to=NUMBER,
        from_="+14155550166",
        direction="outgoing",
        state="parked",
    )


def test_a_parked_call_of_a_browser_rings_at_the_number_that_it_dials(
    adapter: TelnyxAdapter,
) -> None:
    request = SIGNER.request(_parked_event())

    adapter.verify(request)
    carrier_event = adapter.parse(request)

    assert (carrier_event.kind, carrier_event.called_number) == ("call", NUMBER)
    assert carrier_event.unanswered
    assert carrier_event.caller == Caller(None, "other")  # the browser can name any number


def test_without_the_setting_events_of_the_credential_connection_are_refused(
    telnyx: TelnyxServer,
) -> None:
    adapter = create_adapter(telnyx, SIGNER, telnyx_credential_connection_id="777")

    with pytest.raises(InvalidCarrierSignature):
        adapter.verify(SIGNER.request(_parked_event()))


@pytest.mark.parametrize(
    ("connection", "wrong"),
    [
        ({"events_url": EVENTS_URL}, []),
        ({"events_url": EVENTS_URL, "parks_calls": False}, ["outbound.call_parking_enabled"]),
        ({"events_url": ""}, ["webhook_event_url"]),
    ],
)
def test_the_connection_is_compared_without_creating_anything(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, connection: dict[str, Any], wrong: list[str]
) -> None:
    telnyx.account.add_credential_connection("777", **connection)

    settings = adapter.check_webrtc()

    assert [setting.name for setting in settings if not setting.agrees] == wrong
    assert telnyx.account.credentials == {}


def test_an_account_without_parking_has_nothing_to_compare(telnyx: TelnyxServer) -> None:
    assert create_adapter(telnyx, SIGNER).check_webrtc() == ()
