"""How often one request verifies and signs tokens."""

from typing import Any

import pytest

from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant
from vca.kit import crypto


@pytest.fixture
def state(carrier_client: CarrierClient, acme: Tenant) -> str:
    """Return the state of a call that an agent of acme has answered."""
    acme.profile(greeting="Acme here.")
    response = carrier_client.ring(acme.number()["did_number"], "call-1")
    return str(response["state"])


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the operations on tokens of calls from now on."""
    operations: list[str] = []

    def record(name: str) -> None:
        operation = getattr(crypto, name)

        def recorded(*arguments: Any, **options: Any) -> Any:
            operations.append(name)
            return operation(*arguments, **options)

        monkeypatch.setattr(crypto, name, recorded)

    record("sign")
    record("unsign")
    return operations


def test_a_turn_verifies_one_token_and_signs_one(
    carrier_client: CarrierClient, state: str, operations: list[str]
) -> None:
    response = carrier_client.say("call-1", state, "When do you open?")

    assert response["state"]
    assert operations == ["unsign", "sign"]


def test_an_event_verifies_one_token_and_signs_none(
    carrier_client: CarrierClient, state: str, operations: list[str]
) -> None:
    carrier_client.send_status("call-1", "completed", state=state)

    assert operations == ["unsign"]
