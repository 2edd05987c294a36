"""Tests of number registration at Twilio: settings, checks, releases and concurrency."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.suites.telephony import ACME, CALLBACK, GLOBEX, NUMBER
from tests.fakes.carriers.twilio.connected_twilio import (
    ACCOUNT_LOGIN,
    STATE_SIGNER,
    ConnectedTwilio,
    connected_twilio,
)
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import TwilioUrls


@pytest.fixture
def twilio() -> Iterator[ConnectedTwilio]:
    with connected_twilio() as connection:
        yield connection


@pytest.fixture
def number(twilio: ConnectedTwilio) -> dict[str, Any]:
    """Return the number as Twilio stores it."""
    number = twilio.account.find_number(NUMBER)
    assert number is not None
    return number


def test_registration_sets_voice_fallback_and_status_urls(
    twilio: ConnectedTwilio, number: dict[str, Any]
) -> None:
    twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    assert number["friendly_name"] == f"VCA tenant {ACME}"
    assert (number["voice_url"], number["voice_method"]) == (f"{CALLBACK}voice", "POST")
    assert number["voice_fallback_url"] == "https://fallback.example.com/twilio/14155550100.xml"
    assert number["voice_fallback_method"] == "GET"
    assert number["status_callback"] == f"{CALLBACK}status"
    assert number["status_callback_method"] == "POST"


@pytest.mark.parametrize(
    "routing", [{"voice_application_sid": f"AP{1:032x}"}, {"trunk_sid": f"TK{1:032x}"}]
)
def test_registration_removes_an_application_or_a_trunk(
    twilio: ConnectedTwilio, number: dict[str, Any], routing: dict[str, str]
) -> None:
    number.update(routing)

    twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    assert (number["voice_application_sid"], number["trunk_sid"]) == (None, None)


def test_a_second_registration_changes_nothing_at_twilio(twilio: ConnectedTwilio) -> None:
    for _ in range(2):
        twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    changes = [request for request in twilio.account.requests if request.method == "POST"]
    assert len(changes) == 1


def test_a_changed_setting_is_reported_and_restored(
    twilio: ConnectedTwilio, number: dict[str, Any]
) -> None:
    twilio.adapter.register_number(ACME, uuid4(), NUMBER)
    number["voice_url"] = "https://example.com/"

    number_settings = twilio.adapter.check_number(ACME, uuid4(), NUMBER)
    twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    [changed_setting] = [setting for setting in number_settings if not setting.agrees]
    assert (changed_setting.name, changed_setting.expected) == ("voice_url", f"{CALLBACK}voice")
    assert changed_setting.actual == "https://example.com/"
    assert number["voice_url"] == f"{CALLBACK}voice"


def test_a_check_does_not_disclose_another_tenant(twilio: ConnectedTwilio) -> None:
    twilio.adapter.register_number(GLOBEX, uuid4(), NUMBER)

    number_settings = twilio.adapter.check_number(ACME, uuid4(), NUMBER)

    assert [setting.name for setting in number_settings if not setting.agrees] == ["friendly_name"]
    assert str(GLOBEX) not in repr(number_settings)


def test_unregistration_removes_only_unchanged_settings_of_the_product(
    twilio: ConnectedTwilio, number: dict[str, Any]
) -> None:
    number["sms_url"] = "https://sms.example.com/"
    twilio.adapter.register_number(ACME, uuid4(), NUMBER)
    number["status_callback"] = "https://example.com/mine"

    twilio.adapter.unregister_number(ACME, uuid4(), NUMBER)

    assert number["friendly_name"] == NUMBER
    assert (number["voice_url"], number["voice_fallback_url"]) == (None, None)
    assert number["voice_fallback_method"] == "POST"
    assert number["status_callback"] == "https://example.com/mine"
    assert number["sms_url"] == "https://sms.example.com/"


def test_unregistration_does_not_change_an_unregistered_number(
    twilio: ConnectedTwilio, number: dict[str, Any]
) -> None:
    before = dict(number)

    twilio.adapter.unregister_number(ACME, uuid4(), NUMBER)

    assert number == before


@pytest.mark.parametrize("name", ["VCA tenant of mine", f"VCA tenant {'-' * 36}", "Front desk", ""])
def test_a_name_that_is_no_tenant_tag_is_replaced(
    twilio: ConnectedTwilio, number: dict[str, Any], name: str
) -> None:
    number["friendly_name"] = name

    twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    assert number["friendly_name"] == f"VCA tenant {ACME}"


def test_a_number_outside_the_account_is_not_registered(
    twilio: ConnectedTwilio,
) -> None:
    twilio.account.add_number("+141555501001")  # contains the known number
    unknown_number = "+14155550177"

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.register_number(ACME, uuid4(), unknown_number)

    assert (raised.value.permanent, raised.value.code) == (True, "no-such-number")
    assert twilio.adapter.check_number(ACME, uuid4(), unknown_number) == ()
    twilio.adapter.unregister_number(ACME, uuid4(), unknown_number)


def test_a_longer_number_with_the_same_start_does_not_match(
    twilio: ConnectedTwilio, number: dict[str, Any]
) -> None:
    longer = twilio.account.add_number(f"{NUMBER}1")
    twilio.account.numbers.pop(number["sid"])

    with pytest.raises(TelephonyError):
        twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    assert longer["voice_url"].startswith("https://demo.twilio.com/")


def test_a_concurrent_registration_of_another_tenant_is_an_error(
    twilio: ConnectedTwilio, number: dict[str, Any]
) -> None:
    """A process of another deployment does not use the same lock."""

    def register_for_other_tenant() -> None:
        number["friendly_name"] = f"VCA tenant {GLOBEX}"

    twilio.account.after_number_update.append(register_for_other_tenant)

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    assert (raised.value.permanent, raised.value.code) == (True, "foreign")
    assert number["friendly_name"] == f"VCA tenant {GLOBEX}"


def test_adapters_of_one_process_register_one_after_the_other(twilio: ConnectedTwilio) -> None:
    adapters = [twilio.new_adapter() for _ in range(4)]

    def register(index: int) -> bool:
        try:
            adapters[index].register_number((ACME, GLOBEX)[index % 2], uuid4(), NUMBER)
        except TelephonyError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(register, range(4)))

    for adapter in adapters:
        adapter.close()
    assert results in ([True, False] * 2, [False, True] * 2)


def test_without_a_public_base_url_no_number_is_registered(twilio: ConnectedTwilio) -> None:
    adapter = TwilioAdapter(
        (ACCOUNT_LOGIN,), TwilioUrls("", api_base_url=twilio.server.url), state_signer=STATE_SIGNER
    )

    with pytest.raises(TelephonyError) as raised:
        adapter.register_number(ACME, uuid4(), NUMBER)

    assert (raised.value.permanent, raised.value.code) == (True, "not-set-up")
    assert twilio.account.requests == []
