"""The deployment's account with Telnyx in its settings: whole, or not at all."""

import base64

import pytest

from tests.fakes.carriers.telnyx.signing import Signer
from vca.settings import Settings, SettingsError, read_settings
from vca.telephony.providers import Carriers
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter

KEY = Signer().public_key
GOOD = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere",
    "APP_ENV": "development",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "SECRET_KEY": "a-secret-of-this-test-alone-and-no-other",
}
PRODUCTION = {
    **GOOD,
    "APP_ENV": "production",
    "API_KEY_PEPPERS": "a-pepper-of-this-test-alone-and-no-other",
    "ENCRYPTION_KEYS": base64.b64encode(bytes(32)).decode(),
}


def _read(**given: str) -> Settings:
    return read_settings({**GOOD, **given})


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"TELNYX_API_KEY": "KEY"}, "TELNYX_API_KEY and TELNYX_PUBLIC_KEY belong together"),
        ({"TELNYX_PUBLIC_KEY": KEY}, "TELNYX_API_KEY and TELNYX_PUBLIC_KEY belong together"),
        ({"TELNYX_PUBLIC_KEY": "AAAA"}, "TELNYX_PUBLIC_KEY must be 32 bytes in base64"),
        ({"TELNYX_PUBLIC_KEY": "é"}, "TELNYX_PUBLIC_KEY must be 32 bytes in base64"),
        ({"TELNYX_PUBLIC_KEY": f"{KEY}\n!"}, "TELNYX_PUBLIC_KEY must be 32 bytes in base64"),
        ({"TELNYX_API_BASE_URL": "api.telnyx.com"}, "TELNYX_API_BASE_URL must be an http(s) URL"),
    ],
)
def test_half_an_account_is_told_when_a_process_starts(given: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as raised:
        _read(**given)

    assert problem in str(raised.value)


def test_a_public_address_is_needed_in_production_though_another_carrier_is_the_default() -> None:
    account = {"TELNYX_API_KEY": "KEY", "TELNYX_PUBLIC_KEY": KEY}

    with pytest.raises(SettingsError) as raised:
        read_settings({**PRODUCTION, **account})

    assert "PUBLIC_BASE_URL must be an https URL" in str(raised.value)
    url = {"PUBLIC_BASE_URL": "https://voice.example.com"}
    assert read_settings({**PRODUCTION, **account, **url}).telnyx_public_key == KEY


def test_telnyx_is_a_carrier_once_it_has_an_account() -> None:
    without = Carriers(_read())
    with_account = Carriers(_read(TELNYX_API_KEY="KEY", TELNYX_PUBLIC_KEY=KEY))

    assert not without.is_configured("telnyx")
    assert with_account.is_configured("telnyx")
    assert isinstance(with_account.adapter("telnyx"), TelnyxAdapter)


def test_telnyx_may_be_the_carrier_of_generic_numbers() -> None:
    carriers = Carriers(
        _read(TELNYX_API_KEY="KEY", TELNYX_PUBLIC_KEY=KEY, TELEPHONY_PROVIDER="telnyx")
    )

    assert isinstance(carriers.for_number("generic"), TelnyxAdapter)
