"""Tests of the settings of the deployment's Twilio account."""

import pytest

from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN
from tests.unit.telephony.test_twilio_webhooks import genuine_request
from vca.settings import SettingsError, read_settings
from vca.telephony.adapter import InvalidCarrierSignature
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import TwilioCredentials, TwilioUrls

REQUIRED = {
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
API_KEY = {"TWILIO_API_KEY_SID": f"SK{1:032x}", "TWILIO_API_KEY_SECRET": "x" * 32}


def _read_invalid_settings(**environment: str) -> list[str]:
    """Read settings that must be invalid, and return the problems."""
    with pytest.raises(SettingsError) as raised:
        read_settings({**REQUIRED, **environment})
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
def test_an_invalid_value_is_named_without_quoting_it(name: str, value: str) -> None:
    [problem] = _read_invalid_settings(**{name: value})

    assert problem.startswith(f"{name} must be ")
    assert value not in problem


@pytest.mark.parametrize("missing", [*ACCOUNT, *API_KEY])
def test_an_incomplete_account_or_api_key_is_a_settings_error(missing: str) -> None:
    complete_settings = {**ACCOUNT, **API_KEY}
    incomplete_settings = {
        name: value for name, value in complete_settings.items() if name != missing
    }

    problems = _read_invalid_settings(**incomplete_settings)

    assert problems
    assert all("belong together" in problem for problem in problems)
    assert (
        read_settings({**REQUIRED, **complete_settings}).twilio_api_key_sid
        == API_KEY["TWILIO_API_KEY_SID"]
    )
    assert read_settings({**REQUIRED, **ACCOUNT}).twilio_api_key_sid == ""


def test_a_twilio_account_requires_a_public_https_url_in_production() -> None:
    production = {
        "APP_ENV": "production",
        "API_KEY_PEPPERS": "a-pepper-of-this-test-alone-and-no-other",
        "ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    }

    problems = _read_invalid_settings(
        **ACCOUNT, **production, PUBLIC_BASE_URL="http://voice.example.com"
    )

    assert ["PUBLIC_BASE_URL" in problem for problem in problems] == [True]
    assert read_settings({**REQUIRED, **ACCOUNT, **production}).production


def test_without_an_account_there_is_no_adapter() -> None:
    assert TwilioAdapter.from_settings(read_settings(REQUIRED)) is None


def test_any_of_the_deployments_tokens_may_sign_a_request() -> None:
    tokens = f"{8:032x} , {ACCOUNT_LOGIN.auth_token}"

    adapter = TwilioAdapter.from_settings(
        read_settings({**REQUIRED, **ACCOUNT, "TWILIO_AUTH_TOKEN": tokens})
    )

    assert adapter is not None
    for token in (f"{8:032x}", ACCOUNT_LOGIN.auth_token):
        adapter.verify(genuine_request(login=TwilioCredentials(ACCOUNT_LOGIN.account_sid, token)))
    with pytest.raises(InvalidCarrierSignature):
        adapter.verify(
            genuine_request(login=TwilioCredentials(ACCOUNT_LOGIN.account_sid, f"{9:032x}"))
        )


@pytest.mark.parametrize(
    ("environment", "expected"),
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
def test_the_callback_urls_have_the_public_base_url(
    environment: dict[str, str], expected: TwilioUrls
) -> None:
    assert TwilioUrls.from_settings(read_settings({**REQUIRED, **environment})) == expected


def test_the_repr_of_credentials_contains_no_token() -> None:
    assert "5e" * 16 not in repr(TwilioCredentials(ACCOUNT_LOGIN.account_sid, "5e" * 16))
