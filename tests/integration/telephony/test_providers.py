"""Which carriers there are, whose accounts, and how many adapters of accounts a process keeps."""

from dataclasses import replace

import pytest

from tests.support.accounts import OTHER_CARRIER, OTHER_CARRIER_PATH, OtherCarrier
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.adapter import InvalidCarrierSignature, TelephonyError
from vca.telephony.providers import ADAPTERS, Carriers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import Account

SECRET = "a-secret-of-sixteen"
FIELDS = {"account_id": "acme", "secret": SECRET}


@pytest.fixture
def carriers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Carriers:
    """A process that knows a carrier with which it has no account itself."""
    monkeypatch.setitem(ADAPTERS, OTHER_CARRIER, OTHER_CARRIER_PATH)
    return Carriers(settings)


def test_the_same_credentials_are_one_adapter_and_others_another(carriers: Carriers) -> None:
    first = carriers.for_account("fake", Account(FIELDS))

    assert carriers.for_account("fake", Account(dict(reversed(FIELDS.items())))) is first
    for other in (
        Account({**FIELDS, "secret": f"{SECRET}!"}),
        Account(FIELDS, previous={**FIELDS, "secret": f"{SECRET}!"}),
        None,
    ):
        assert carriers.for_account("fake", other) is not first
    assert carriers.for_account(OTHER_CARRIER, Account(FIELDS)) is not first


def test_a_process_keeps_the_adapters_that_were_used_last(
    carriers: Carriers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "_MAX_ACCOUNT_ADAPTERS", 3)
    accounts = [Account({**FIELDS, "account_id": name}) for name in "abcd"]
    first, second = (carriers.for_account("fake", each) for each in accounts[:2])
    carriers.for_account("fake", accounts[2])

    assert carriers.for_account("fake", accounts[0]) is first
    carriers.for_account("fake", accounts[3])

    assert carriers.for_account("fake", accounts[0]) is first
    assert carriers.for_account("fake", accounts[1]) is not second


def test_no_key_of_what_is_kept_holds_a_secret(carriers: Carriers) -> None:
    carriers.for_account("fake", Account(FIELDS))

    assert SECRET.encode() not in b"".join(carriers._account_adapters)


def test_a_carrier_without_an_account_of_ours_reads_and_does_nothing_else(
    carriers: Carriers,
) -> None:
    reader = carriers.parser_for(OTHER_CARRIER)
    assert isinstance(reader, OtherCarrier)
    request = OtherCarrier(SECRET).signed_request("voice", "/telephony/other/", call_id="1")

    assert reader.parse(request).provider_call_id == "1"
    with pytest.raises(InvalidCarrierSignature):
        reader.verify(request)
    with pytest.raises(TelephonyError):
        reader.hang_up("1")
    assert carriers.adapter(OTHER_CARRIER) is None
    assert not carriers.is_configured(OTHER_CARRIER)


def test_the_deployments_own_account_reads_where_there_is_one(carriers: Carriers) -> None:
    assert carriers.parser_for("fake") is carriers.adapter("fake")


@pytest.mark.parametrize("name", ["nobody", "generic", ""])
def test_what_is_no_carrier_reads_nothing(carriers: Carriers, name: str) -> None:
    assert carriers.parser_for(name) is None
    assert carriers.adapter_class(name) is None
    assert carriers.for_account(name, Account(FIELDS)) is None


def test_in_production_the_fake_carrier_is_nobodys_and_still_simulates(
    settings: Settings,
) -> None:
    hard = {"api_key_peppers": ("p" * 32,), "encryption_keys": settings.keys_at_rest}
    carriers = Carriers(replace(settings, app_env="production", telephony_provider="", **hard))

    assert carriers.parser_for("fake") is None
    assert carriers.for_account("fake", Account(FIELDS)) is None
    assert carriers.for_call("fake") is carriers.simulator


def test_generic_is_the_deployments_default(carriers: Carriers) -> None:
    assert carriers.carrier_name("generic") == "fake"
    assert carriers.carrier_name(OTHER_CARRIER) == OTHER_CARRIER
    carriers.default = None
    assert carriers.carrier_name("generic") is None


def test_a_subclass_that_is_put_in_its_place_is_what_accounts_are_of(carriers: Carriers) -> None:
    class Mine(FakeTelephonyAdapter):
        """The test's own."""

    carriers.register(Mine(SECRET))

    assert isinstance(carriers.for_account("fake", Account(FIELDS)), Mine)
