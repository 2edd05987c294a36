"""Twilio's numbers: what registering sets, what it leaves alone, and who comes first."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.suites.telephony import ACME, CALLBACK, GLOBEX, NUMBER
from tests.fakes.carriers.twilio.connected_twilio import (
    ACCOUNT_LOGIN,
    ConnectedTwilio,
    connected_twilio,
)
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import TwilioUrls

URLS = ("voice_url", "voice_fallback_url", "status_callback")


@pytest.fixture
def twilio() -> Iterator[ConnectedTwilio]:
    with connected_twilio() as made:
        yield made


@pytest.fixture
def number(twilio: ConnectedTwilio) -> dict[str, Any]:
    """What Twilio holds of the number."""
    held = twilio.account.find_number(NUMBER)
    assert held is not None
    return held


def test_a_registered_number_leads_to_us_and_to_its_document_while_we_are_away(
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
    "other", [{"voice_application_sid": f"AP{1:032x}"}, {"trunk_sid": f"TK{1:032x}"}]
)
def test_an_application_or_a_trunk_that_would_have_the_calls_is_taken_off(
    twilio: ConnectedTwilio, number: dict[str, Any], other: dict[str, str]
) -> None:
    number.update(other)

    twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    assert (number["voice_application_sid"], number["trunk_sid"]) == (None, None)


def test_a_number_that_is_registered_is_only_looked_at(twilio: ConnectedTwilio) -> None:
    for _ in range(2):
        twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    changes = [asked for asked in twilio.account.requests if asked.method == "POST"]
    assert len(changes) == 1


def test_what_somebody_has_changed_is_found_and_mended(
    twilio: ConnectedTwilio, number: dict[str, Any]
) -> None:
    twilio.adapter.register_number(ACME, uuid4(), NUMBER)
    number["voice_url"] = "https://example.com/"

    held = twilio.adapter.check_number(ACME, uuid4(), NUMBER)
    twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    [wrong] = [field for field in held if not field.agrees]
    assert (wrong.name, wrong.expected) == ("voice_url", f"{CALLBACK}voice")
    assert wrong.actual == "https://example.com/"
    assert number["voice_url"] == f"{CALLBACK}voice"


def test_checking_does_not_tell_whose_else_a_number_is(twilio: ConnectedTwilio) -> None:
    twilio.adapter.register_number(GLOBEX, uuid4(), NUMBER)

    held = twilio.adapter.check_number(ACME, uuid4(), NUMBER)

    assert [field.name for field in held if not field.agrees] == ["friendly_name"]
    assert str(GLOBEX) not in repr(held)


def test_unregistering_takes_what_is_ours_and_leaves_the_rest(
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


def test_a_number_that_was_never_ours_is_left_as_it_is(
    twilio: ConnectedTwilio, number: dict[str, Any]
) -> None:
    before = dict(number)

    twilio.adapter.unregister_number(ACME, uuid4(), NUMBER)

    assert number == before


@pytest.mark.parametrize("name", ["VCA tenant of mine", f"VCA tenant {'-' * 36}", "Front desk", ""])
def test_a_name_that_is_no_tag_of_ours_is_nobodys(
    twilio: ConnectedTwilio, number: dict[str, Any], name: str
) -> None:
    number["friendly_name"] = name

    twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    assert number["friendly_name"] == f"VCA tenant {ACME}"


def test_a_number_that_the_account_does_not_have_cannot_be_registered(
    twilio: ConnectedTwilio,
) -> None:
    twilio.account.add_number("+141555501001")  # of which it is a part
    missing = "+14155550177"

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.register_number(ACME, uuid4(), missing)

    assert (raised.value.permanent, raised.value.code) == (True, "no-such-number")
    assert twilio.adapter.check_number(ACME, uuid4(), missing) == ()
    twilio.adapter.unregister_number(ACME, uuid4(), missing)


def test_a_longer_number_is_not_taken_for_the_one_in_it(
    twilio: ConnectedTwilio, number: dict[str, Any]
) -> None:
    longer = twilio.account.add_number(f"{NUMBER}1")
    twilio.account.numbers.pop(number["sid"])

    with pytest.raises(TelephonyError):
        twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    assert longer["voice_url"].startswith("https://demo.twilio.com/")


def test_who_is_overtaken_between_reading_and_writing_is_told_so(
    twilio: ConnectedTwilio, number: dict[str, Any]
) -> None:
    """Another deployment's process, which takes no turns with ours."""

    def overtaken() -> None:
        number["friendly_name"] = f"VCA tenant {GLOBEX}"

    twilio.account.after_number_update.append(overtaken)

    with pytest.raises(TelephonyError) as raised:
        twilio.adapter.register_number(ACME, uuid4(), NUMBER)

    assert (raised.value.permanent, raised.value.code) == (True, "foreign")
    assert number["friendly_name"] == f"VCA tenant {GLOBEX}"


def test_two_accounts_adapters_of_one_process_take_turns(twilio: ConnectedTwilio) -> None:
    adapters = [twilio.new_adapter() for _ in range(4)]

    def register(number: int) -> bool:
        try:
            adapters[number].register_number((ACME, GLOBEX)[number % 2], uuid4(), NUMBER)
        except TelephonyError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        won = list(threads.map(register, range(4)))

    for adapter in adapters:
        adapter.close()
    assert won in ([True, False] * 2, [False, True] * 2)


def test_without_an_address_of_ours_no_number_is_registered(twilio: ConnectedTwilio) -> None:
    nowhere = TwilioAdapter((ACCOUNT_LOGIN,), TwilioUrls("", api_base_url=twilio.server.url))

    with pytest.raises(TelephonyError) as raised:
        nowhere.register_number(ACME, uuid4(), NUMBER)

    assert (raised.value.permanent, raised.value.code) == (True, "not-set-up")
    assert twilio.account.requests == []
