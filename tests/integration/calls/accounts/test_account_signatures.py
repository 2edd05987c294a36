"""Calls on telephony accounts of tenants: requests that the account signs, and their cost."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.integration.calls.accounts.conftest import OTHER_CARRIER_BASE_PATH, list_calls
from tests.support.accounts import (
    OTHER_CARRIER,
    OTHER_CARRIER_PATH,
    OtherCarrier,
    OwnAccount,
    create_account,
)
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient, spoken_text
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.sent_sql import record_sent_sql
from tests.support.services import app_services
from vca.telephony.providers import ADAPTERS
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.telephony_accounts import credentials
from vca.tenant.telephony_accounts.models import TelephonyAccount

# The number of round trips to the database of an inbound call, an utterance, a final status with a
# state token, and a final status without one.
DEPLOYMENT_ACCOUNT_ROUND_TRIPS = [3, 3, 4, 7]


# --- Signed requests ---


def test_a_call_to_a_number_on_a_tenants_account_is_stored_with_that_account(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    account_client = own_account.carrier_client(anonymous)

    first_response = account_client.ring(number["did_number"], "own-1")
    second_response = account_client.say("own-1", first_response["state"], "Hello?")
    account_client.send_status("own-1", "completed", state=second_response["state"])

    assert spoken_text(first_response) == "Acme here."
    [call] = list_calls(acme)
    assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")
    assert (call["provider_type"], call["telephony_account_id"]) == ("fake", own_account.id)


def test_a_calls_account_may_send_its_status_without_a_state_token(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    account_client = own_account.carrier_client(anonymous)
    account_client.ring(number["did_number"], "own-1")

    account_client.send_status("own-1", "completed", to=number["did_number"])

    assert list_calls(acme)[0]["status"] == "completed"


def test_the_previous_secret_of_an_account_is_valid_after_a_rotation(
    acme: Tenant, world: Factory, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    acme.patch(f"/telephony-accounts/{own_account.id}", {"fields": {"secret": "n" * 20}})

    own_account.carrier_client(anonymous).ring(number["did_number"], "before-1")

    rotated_account = OwnAccount(
        own_account.representation, {**own_account.fields, "secret": "n" * 20}
    )
    rotated_account.carrier_client(anonymous).ring(number["did_number"], "new-1")
    assert len(list_calls(acme)) == 2


def test_a_carrier_without_a_deployment_account_serves_a_tenants_account(
    acme: Tenant, own_account: OwnAccount, anonymous: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ADAPTERS, OTHER_CARRIER, OTHER_CARRIER_PATH)
    account = create_account(acme, provider_type=OTHER_CARRIER)
    number = acme.number(**account.number_fields)

    request = OtherCarrier(account.fields["secret"]).signed_request(
        "voice", OTHER_CARRIER_BASE_PATH, call_id="other-1", to=number["did_number"]
    )
    response = account.carrier_client(anonymous).send(request)

    assert response.status_code == 200
    assert list_calls(acme)[0]["telephony_account_id"] == account.id
    assert (
        acme.post(
            "/phone-numbers", {"did_number": fresh_number(), "provider_type": OTHER_CARRIER}
        ).json["errors"][0]["pointer"]
        == "/provider_type"
    )


def test_a_call_stays_with_its_account_when_its_number_moves(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    carrier_client: CarrierClient,
) -> None:
    account_client = own_account.carrier_client(anonymous)
    state = account_client.ring(number["did_number"], "own-1")["state"]

    acme.patch(f"/phone-numbers/{number['id']}", {"telephony_account_id": None})
    acme.post(f"/phone-numbers/{number['id']}/release-previous-carrier")

    account_client.say("own-1", state, "Are you there?")
    account_client.send_status("own-1", "completed", to=number["did_number"])
    assert list_calls(acme)[0]["status"] == "completed"
    assert carrier_client.ring(number["did_number"], "new-1")["state"] is not None


def _advance_overlap(tenant: Tenant, account: OwnAccount, duration: timedelta) -> None:
    """Change the stored end of the overlap as if this time had passed."""
    context: dict[str, Any] = {
        "tenant_id": tenant.ref.id,
        "account_id": UUID(account.id),
    }
    with tenant_session(tenant.ref, database=app_services().database) as session:
        row = session.get_one(TelephonyAccount, UUID(account.id))
        stored = credentials.decrypt_credentials(row.sealed, **context, services=app_services())
        assert stored.previous_until is not None
        advanced = replace(stored, previous_until=stored.previous_until - duration)
        row.sealed = credentials.encrypt_credentials(advanced, **context, services=app_services())


def test_the_previous_secret_of_an_account_is_accepted_for_one_day(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    acme.patch(f"/telephony-accounts/{own_account.id}", {"fields": {"secret": "n" * 20}})
    account_client = own_account.carrier_client(anonymous)

    def send_call(call_id: str) -> int:
        request = account_client.build_request("voice", call_id=call_id, to=number["did_number"])
        return account_client.send(request).status_code

    _advance_overlap(acme, own_account, timedelta(hours=23, minutes=55))
    before_end = send_call("early-1")
    _advance_overlap(acme, own_account, timedelta(minutes=5))
    after_end = send_call("late-1")

    assert (before_end, after_end) == (200, 403)
    assert len(list_calls(acme)) == 1


def test_the_previous_secret_of_an_account_is_rejected_after_the_overlap(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "OVERLAP", timedelta(0))
    acme.patch(f"/telephony-accounts/{own_account.id}", {"fields": {"secret": "n" * 20}})
    account_client = own_account.carrier_client(anonymous)

    response = account_client.send(
        account_client.build_request("voice", call_id="late-1", to=number["did_number"])
    )

    assert response.status_code == 403
    assert list_calls(acme) == []


def test_a_request_signed_by_a_deleted_account_returns_403(
    acme: Tenant, world: Factory, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    account_client = own_account.carrier_client(anonymous)
    state = account_client.ring(number["did_number"], "own-1")["state"]
    world.sql(acme, "UPDATE phone_numbers SET telephony_account_id = NULL")
    world.sql(acme, "DELETE FROM telephony_accounts")

    for action, fields in (("voice", {"to": number["did_number"]}), ("speech", {"state": state})):
        request = account_client.build_request(action, call_id="own-1", **fields)
        assert account_client.send(request).status_code == 403


def test_a_state_token_without_an_account_is_checked_against_the_calls_row(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    carrier_client: CarrierClient,
) -> None:
    account_client = own_account.carrier_client(anonymous)
    account_client.ring(number["did_number"], "own-1")
    ref = CallRef(acme.ref, UUID(list_calls(acme)[0]["id"]))
    state = call_tokens.sign_state(
        CallState(ref, provider_call_id="own-1", turns=1), services=app_services()
    )

    fields = {"call_id": "own-1", "state": state, "text": "Hello?"}
    deployment_response = carrier_client.send(carrier_client.build_request("speech", **fields))
    account_response = account_client.send(account_client.build_request("speech", **fields))

    assert (deployment_response.status_code, account_response.status_code) == (403, 200)


# --- Round trips to the database ---


def _count_round_trips(
    monkeypatch: pytest.MonkeyPatch, client: CarrierClient, to: str, call_prefix: str
) -> list[int]:
    """Return the counts in the order of DEPLOYMENT_ACCOUNT_ROUND_TRIPS."""
    counts: list[int] = []

    def measure(
        send: Callable[..., dict[str, Any]], *arguments: Any, **fields: Any
    ) -> dict[str, Any]:
        with record_sent_sql(monkeypatch) as round_trips:
            response_body = send(*arguments, **fields)
        counts.append(len(round_trips))
        return response_body

    state = client.ring(to, f"{call_prefix}-1")["state"]  # the first requests fill caches
    state = client.say(f"{call_prefix}-1", state, "Hello?")["state"]
    client.send_status(f"{call_prefix}-1", "completed", state=state)
    state = measure(client.ring, to, f"{call_prefix}-2")["state"]
    measure(client.say, f"{call_prefix}-2", state, "Hello?")
    measure(client.send_status, f"{call_prefix}-2", "completed", state=state)
    client.ring(to, f"{call_prefix}-3")
    measure(client.send_status, f"{call_prefix}-3", "completed", to=to)
    return counts


def test_a_tenants_account_adds_one_short_transaction_to_each_request(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier_client: CarrierClient,
    anonymous: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment_number = acme.number()["did_number"]
    deployment_counts = _count_round_trips(monkeypatch, carrier_client, deployment_number, "plain")
    account_client = own_account.carrier_client(anonymous)
    account_counts = _count_round_trips(monkeypatch, account_client, number["did_number"], "own")

    assert deployment_counts == DEPLOYMENT_ACCOUNT_ROUND_TRIPS
    added_counts = [
        account_count - deployment_count
        for account_count, deployment_count in zip(account_counts, deployment_counts, strict=True)
    ]
    assert added_counts == [2] * 4  # the read of the credentials, and the end of its transaction
