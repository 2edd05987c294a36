"""Tests of the settings of the deployment's Telnyx account."""

import base64

import pytest

from tests.fakes.carriers.telnyx.signing import Signer
from vca.settings import Settings, SettingsError, read_settings
from vca.telephony.providers import Carriers
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter

PUBLIC_KEY = Signer().public_key
REQUIRED = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere",
    "APP_ENV": "development",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "SECRET_KEY": "a-secret-of-this-test-alone-and-no-other",
}
PRODUCTION = {
    **REQUIRED,
    "APP_ENV": "production",
    "API_KEY_PEPPERS": "a-pepper-of-this-test-alone-and-no-other",
    "ENCRYPTION_KEYS": base64.b64encode(bytes(32)).decode(),
}


def _read_settings(**environment: str) -> Settings:
    return read_settings({**REQUIRED, **environment})


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"TELNYX_API_KEY": "KEY"}, "TELNYX_API_KEY and TELNYX_PUBLIC_KEY belong together"),
        ({"TELNYX_PUBLIC_KEY": PUBLIC_KEY}, "TELNYX_API_KEY and TELNYX_PUBLIC_KEY belong together"),
        ({"TELNYX_PUBLIC_KEY": "AAAA"}, "TELNYX_PUBLIC_KEY must be 32 bytes in base64"),
        ({"TELNYX_PUBLIC_KEY": "é"}, "TELNYX_PUBLIC_KEY must be 32 bytes in base64"),
        ({"TELNYX_PUBLIC_KEY": f"{PUBLIC_KEY}\n!"}, "TELNYX_PUBLIC_KEY must be 32 bytes in base64"),
        ({"TELNYX_API_BASE_URL": "api.telnyx.com"}, "TELNYX_API_BASE_URL must be an http(s) URL"),
    ],
)
def test_an_incomplete_account_is_a_settings_error(
    environment: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        _read_settings(**environment)

    assert problem in str(raised.value)


def test_a_telnyx_account_requires_a_public_https_url_in_production() -> None:
    account = {"TELNYX_API_KEY": "KEY", "TELNYX_PUBLIC_KEY": PUBLIC_KEY}

    with pytest.raises(SettingsError) as raised:
        read_settings({**PRODUCTION, **account})

    assert "PUBLIC_BASE_URL must be an https URL" in str(raised.value)
    url = {"PUBLIC_BASE_URL": "https://voice.example.com"}
    assert read_settings({**PRODUCTION, **account, **url}).telnyx_public_key == PUBLIC_KEY


def test_telnyx_is_configured_if_it_has_an_account() -> None:
    without_account = Carriers(_read_settings())
    with_account = Carriers(_read_settings(TELNYX_API_KEY="KEY", TELNYX_PUBLIC_KEY=PUBLIC_KEY))

    assert not without_account.is_configured("telnyx")
    assert with_account.is_configured("telnyx")
    assert isinstance(with_account.adapter("telnyx"), TelnyxAdapter)


def test_telnyx_can_be_the_carrier_of_generic_numbers() -> None:
    carriers = Carriers(
        _read_settings(
            TELNYX_API_KEY="KEY", TELNYX_PUBLIC_KEY=PUBLIC_KEY, TELEPHONY_PROVIDER="telnyx"
        )
    )

    assert isinstance(carriers.for_number("generic"), TelnyxAdapter)
