"""Twilio's settings: whole or absent, and what the adapter makes of them."""

from typing import Any

import pytest

from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN
from tests.unit.telephony.test_twilio_webhooks import genuine
from vca.settings import SettingsError, read_settings
from vca.telephony.adapter import InvalidCarrierSignature
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import TwilioCredentials, TwilioUrls

GOOD = {
    "DATABASE_URL": "postgresql://vca@db.example.com/vca",
    "APP_ENV": "development",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "SECRET_KEY": "a-secret-of-this-test-alone-and-no-other",
    "PUBLIC_BASE_URL": "https://voice.example.com/vca",
}
ACCOUNT = {
    "TWILIO_ACCOUNT_SID": ACCOUNT_LOGIN.account_sid,
    "TWILIO_AUTH_TOKEN": ACCOUNT_LOGIN.auth_token,
}
BROWSERS = {"TWILIO_API_KEY_SID": f"SK{1:032x}", "TWILIO_API_KEY_SECRET": "x" * 32}


def _problems(**given: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read_settings({**GOOD, **given})
    return raised.value.problems


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWILIO_ACCOUNT_SID", "AC123"),
        ("TWILIO_ACCOUNT_SID", f"SK{1:032x}"),
        ("TWILIO_AUTH_TOKEN", "secret"),
        ("TWILIO_AUTH_TOKEN", f"{1:032x},"),
        ("TWILIO_API_KEY_SID", f"AC{1:032x}"),
        ("TWILIO_API_KEY_SECRET", "short"),
        ("TWILIO_API_BASE_URL", "api.twilio.com"),
    ],
)
def test_what_is_misspelt_is_named_and_not_repeated(name: str, value: str) -> None:
    [problem] = _problems(**{name: value})

    assert problem.startswith(f"{name} must be ")
    assert value not in problem


@pytest.mark.parametrize("left_out", [*ACCOUNT, *BROWSERS])
def test_an_account_is_whole_and_so_is_an_api_key(left_out: str) -> None:
    given = {**ACCOUNT, **BROWSERS}

    problems = _problems(**{name: value for name, value in given.items() if name != left_out})

    assert problems
    assert all("belong together" in problem for problem in problems)
    assert read_settings({**GOOD, **given}).twilio_api_key_sid == BROWSERS["TWILIO_API_KEY_SID"]
    assert read_settings({**GOOD, **ACCOUNT}).twilio_api_key_sid == ""


def test_in_production_twilio_must_find_us_by_https() -> None:
    production = {
        "APP_ENV": "production",
        "API_KEY_PEPPERS": "a-pepper-of-this-test-alone-and-no-other",
        "ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    }

    problems = _problems(**ACCOUNT, **production, PUBLIC_BASE_URL="http://voice.example.com")

    assert ["PUBLIC_BASE_URL" in problem for problem in problems] == [True]
    assert read_settings({**GOOD, **ACCOUNT, **production}).production


def test_without_an_account_there_is_no_adapter() -> None:
    assert TwilioAdapter.from_settings(read_settings(GOOD)) is None


def test_a_deployments_requests_are_signed_by_any_of_its_tokens() -> None:
    tokens = f"{8:032x} , {ACCOUNT_LOGIN.auth_token}"

    adapter = TwilioAdapter.from_settings(
        read_settings({**GOOD, **ACCOUNT, "TWILIO_AUTH_TOKEN": tokens})
    )

    assert adapter is not None
    for token in (f"{8:032x}", ACCOUNT_LOGIN.auth_token):
        adapter.verify(genuine(login=TwilioCredentials(ACCOUNT_LOGIN.account_sid, token)))
    with pytest.raises(InvalidCarrierSignature):
        adapter.verify(genuine(login=TwilioCredentials(ACCOUNT_LOGIN.account_sid, f"{9:032x}")))


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({}, TwilioUrls("https://voice.example.com/vca/telephony/twilio/")),
        ({"PUBLIC_BASE_URL": ""}, TwilioUrls("")),
        (
            {"TWILIO_API_BASE_URL": "https://api.dublin.ie1.twilio.com/"},
            TwilioUrls(
                "https://voice.example.com/vca/telephony/twilio/",
                api_base_url="https://api.dublin.ie1.twilio.com",
            ),
        ),
    ],
)
def test_twilio_finds_us_where_the_world_does(given: dict[str, Any], place: TwilioUrls) -> None:
    assert TwilioUrls.from_settings(read_settings({**GOOD, **given})) == place


def test_no_token_is_in_what_is_printed() -> None:
    assert "5e" * 16 not in repr(TwilioCredentials(ACCOUNT_LOGIN.account_sid, "5e" * 16))
