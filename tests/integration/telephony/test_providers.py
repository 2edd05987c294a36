"""Tests of the registry of carriers and of its cache of account adapters."""

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
    """Return the carriers of a deployment; one of them has no account of the deployment."""
    monkeypatch.setitem(ADAPTERS, OTHER_CARRIER, OTHER_CARRIER_PATH)
    return Carriers(settings)


def test_equal_credentials_share_an_adapter_and_others_do_not(carriers: Carriers) -> None:
    first = carriers.for_account("fake", Account(FIELDS))

    assert carriers.for_account("fake", Account(dict(reversed(FIELDS.items())))) is first
    for account in (
        Account({**FIELDS, "secret": f"{SECRET}!"}),
        Account(FIELDS, previous={**FIELDS, "secret": f"{SECRET}!"}),
        None,
    ):
        assert carriers.for_account("fake", account) is not first
    assert carriers.for_account(OTHER_CARRIER, Account(FIELDS)) is not first


def test_the_most_recently_used_adapters_stay_cached(
    carriers: Carriers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "_MAX_ACCOUNT_ADAPTERS", 3)
    accounts = [Account({**FIELDS, "account_id": name}) for name in "abcd"]
    first, second = (carriers.for_account("fake", account) for account in accounts[:2])
    carriers.for_account("fake", accounts[2])

    assert carriers.for_account("fake", accounts[0]) is first
    carriers.for_account("fake", accounts[3])

    assert carriers.for_account("fake", accounts[0]) is first
    assert carriers.for_account("fake", accounts[1]) is not second


def test_no_cache_key_contains_a_secret(carriers: Carriers) -> None:
    carriers.for_account("fake", Account(FIELDS))

    assert SECRET.encode() not in b"".join(carriers._account_adapters)


def test_a_carrier_without_a_deployment_account_only_parses(
    carriers: Carriers,
) -> None:
    parser = carriers.parser_for(OTHER_CARRIER)
    assert isinstance(parser, OtherCarrier)
    request = OtherCarrier(SECRET).signed_request("voice", "/telephony/other/", call_id="1")

    assert parser.parse(request).provider_call_id == "1"
    with pytest.raises(InvalidCarrierSignature):
        parser.verify(request)
    with pytest.raises(TelephonyError):
        parser.hang_up("1")
    assert carriers.adapter(OTHER_CARRIER) is None
    assert not carriers.is_configured(OTHER_CARRIER)


def test_the_adapter_of_the_deployments_account_parses(carriers: Carriers) -> None:
    assert carriers.parser_for("fake") is carriers.adapter("fake")


@pytest.mark.parametrize("name", ["nobody", "generic", ""])
def test_an_unknown_carrier_has_no_parser_and_no_adapter(carriers: Carriers, name: str) -> None:
    assert carriers.parser_for(name) is None
    assert carriers.adapter_class(name) is None
    assert carriers.for_account(name, Account(FIELDS)) is None


def test_in_production_the_fake_carrier_only_simulates(
    settings: Settings,
) -> None:
    production = replace(
        settings,
        app_env="production",
        telephony_provider="",
        api_key_peppers=("p" * 32,),
        encryption_keys=settings.keys_at_rest,
    )
    carriers = Carriers(production)

    assert carriers.parser_for("fake") is None
    assert carriers.for_account("fake", Account(FIELDS)) is None
    assert carriers.for_call("fake") is carriers.simulator


def test_generic_names_the_deployments_default_carrier(carriers: Carriers) -> None:
    assert carriers.carrier_name("generic") == "fake"
    assert carriers.carrier_name(OTHER_CARRIER) == OTHER_CARRIER
    carriers.default = None
    assert carriers.carrier_name("generic") is None


def test_account_adapters_have_the_class_of_the_registered_adapter(carriers: Carriers) -> None:
    class Subclass(FakeTelephonyAdapter):
        """A subclass of the fake carrier."""

    carriers.register(Subclass(SECRET))

    assert isinstance(carriers.for_account("fake", Account(FIELDS)), Subclass)
