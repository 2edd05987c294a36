"""Porting: moving a number to another carrier or account.

The previous carrier may bring calls for thirty days, or until it is released.
"""

from typing import Any
from uuid import UUID

import pytest

from tests.support import admin_db
from tests.support.accounts import OwnAccount, create_account, requested_operations
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Platform, Tenant
from tests.support.services import app_services
from vca.kit import clock
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.phone_numbers import porting
from vca.tenant.phone_numbers.porting import LEAVE_JOB
from vca.tenant.phone_numbers.registration import UNREGISTER_JOB


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    """Return a client that sends the requests of the deployment's carrier."""
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def own_account(carrier: FakeTelephonyAdapter, acme: Tenant) -> OwnAccount:
    acme.profile(greeting="Acme here.")
    return create_account(acme)


@pytest.fixture
def number(acme: Tenant, world: Factory, own_account: OwnAccount) -> dict[str, Any]:
    """Return a number that has moved from the deployment's account to Acme's own account."""
    number = acme.number(provider_type="fake")
    world.run_jobs(acme)
    response = acme.patch(f"/phone-numbers/{number['id']}", own_account.number_fields)
    assert response.status_code == 200
    ported_number: dict[str, Any] = response.json
    return ported_number


def _get_number(tenant: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    representation: dict[str, Any] = tenant.get(f"/phone-numbers/{number['id']}").json
    return representation


def _ring_number(carrier_client: CarrierClient, number: dict[str, Any], call_id: str) -> int:
    """Send an inbound call to the number and return the status of the response."""
    request = carrier_client.build_request("voice", call_id=call_id, to=number["did_number"])
    return carrier_client.send(request).status_code


def test_the_previous_carrier_is_shown_and_may_bring_calls(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier_client: CarrierClient,
    anonymous: Api,
) -> None:
    previous = number["previous_carrier"]

    assert (previous["provider_type"], previous["telephony_account_id"]) == ("fake", None)
    assert previous["until"] > clock.now().isoformat()
    assert (
        _ring_number(carrier_client, number, "old-1")
        == _ring_number(own_account.carrier_client(anonymous), number, "new-1")
        == 200
    )
    calls = {call["provider_call_id"]: call for call in acme.get("/calls").json}
    assert calls["old-1"]["telephony_account_id"] is None
    assert calls["new-1"]["telephony_account_id"] == own_account.id


def test_a_ported_number_is_registered_at_both_carriers(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    world.run_jobs(acme)

    assert own_account.carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert _get_number(acme, number)["registration"]["status"] == "registered"


def test_a_released_carrier_is_rejected_and_loses_its_registration(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier_client: CarrierClient,
    carrier: FakeTelephonyAdapter,
) -> None:
    path = f"/phone-numbers/{number['id']}/release-previous-carrier"
    world.run_jobs(acme)

    assert acme.post(path).status_code == 204
    assert acme.post(path).status_code == 204
    world.run_jobs(acme)

    assert _get_number(acme, number)["previous_carrier"] is None
    assert _ring_number(carrier_client, number, "old-1") == 403
    assert acme.get("/calls").json == []
    assert carrier.registered_numbers == {}
    assert requested_operations(carrier).count("unregister_number") == 1
    assert own_account.carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert _get_number(acme, number)["registration"]["status"] == "registered"


def test_an_expired_carrier_is_rejected_before_any_job_runs(
    acme: Tenant, number: dict[str, Any], carrier_client: CarrierClient, platform: Platform
) -> None:
    with admin_db.public_session() as session:
        session.connection().exec_driver_sql(
            "UPDATE public.dids SET previous_until = now() WHERE did_number = %s",
            (number["did_number"],),
        )

    assert _ring_number(carrier_client, number, "old-1") == 403
    assert acme.get("/calls").json == []


def test_an_expired_carrier_loses_its_registration(
    acme: Tenant,
    world: Factory,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    own_account: OwnAccount,
) -> None:
    world.run_jobs(acme)
    world.make_due(acme, LEAVE_JOB)
    assert world.run_jobs(acme) == [LEAVE_JOB]  # it does nothing before the period ends
    assert carrier.registered_numbers != {}

    porting.release_if_due(
        acme.ref,
        phone_number_id=UUID(number["id"]),
        now=clock.now() + porting.PREVIOUS_CARRIER_TTL,
        services=app_services(),
    )
    world.run_jobs(acme)

    assert carrier.registered_numbers == {}
    assert own_account.carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert _get_number(acme, number)["previous_carrier"] is None


def test_a_second_move_leaves_one_waiting_release_job(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    second_account = create_account(acme)
    world.run_jobs(acme)

    acme.patch(f"/phone-numbers/{number['id']}", second_account.number_fields)
    job_names = world.run_jobs(acme, include_scheduled=True)

    assert job_names.count(LEAVE_JOB) == 1
    assert carrier.registered_numbers == {}  # the first of the three carriers
    assert own_account.carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert _get_number(acme, number)["previous_carrier"]["telephony_account_id"] == own_account.id


def test_moving_back_does_not_unregister_the_number(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier_client: CarrierClient,
    carrier: FakeTelephonyAdapter,
) -> None:
    world.run_jobs(acme)

    deployment_fields = {"provider_type": "generic", "telephony_account_id": None}
    acme.patch(f"/phone-numbers/{number['id']}", deployment_fields)
    world.run_jobs(acme)

    assert carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert "unregister_number" not in requested_operations(carrier)
    assert _get_number(acme, number)["previous_carrier"]["telephony_account_id"] == own_account.id
    assert _ring_number(carrier_client, number, "back-1") == 200


def test_a_late_release_does_not_unregister_a_number_that_moved_back(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    """The number is moved back and away again while the carrier is unreachable."""
    path = f"/phone-numbers/{number['id']}"
    world.run_jobs(acme)
    carrier.fail_next(TelephonyError("away", permanent=False))
    acme.post(f"{path}/release-previous-carrier")
    world.run_jobs(acme)
    for number_fields in (
        {"provider_type": "fake", "telephony_account_id": None},
        own_account.number_fields,
    ):
        acme.patch(path, number_fields)
        world.run_jobs(acme)

    world.make_due(acme, UNREGISTER_JOB)
    world.run_jobs(acme)

    assert _get_number(acme, number)["previous_carrier"]["telephony_account_id"] is None
    assert carrier.registered_numbers == {number["did_number"]: acme.ref.id}


def test_another_name_of_the_same_carrier_does_not_move_the_number(
    acme: Tenant, world: Factory, own_account: OwnAccount, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number(provider_type="generic")
    world.run_jobs(acme)

    updated_number = acme.patch(f"/phone-numbers/{number['id']}", {"provider_type": "fake"}).json
    world.run_jobs(acme)

    assert updated_number["previous_carrier"] is None
    assert "unregister_number" not in requested_operations(carrier)


def test_a_deactivated_number_is_unregistered_at_both_carriers(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    world.run_jobs(acme)

    inactive_number = acme.patch(f"/phone-numbers/{number['id']}", {"is_active": False}).json
    world.run_jobs(acme)

    assert inactive_number["previous_carrier"] is None
    assert carrier.registered_numbers == own_account.carrier.registered_numbers == {}


def test_a_number_moved_and_deactivated_at_once_is_not_registered(
    acme: Tenant, world: Factory, own_account: OwnAccount, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)

    acme.patch(f"/phone-numbers/{number['id']}", {**own_account.number_fields, "is_active": False})
    world.run_jobs(acme)

    assert carrier.registered_numbers == own_account.carrier.registered_numbers == {}


def test_a_deleted_number_is_unregistered_at_both_carriers(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    world.run_jobs(acme)

    acme.delete(f"/phone-numbers/{number['id']}")
    world.run_jobs(acme)

    assert carrier.registered_numbers == own_account.carrier.registered_numbers == {}
    assert LEAVE_JOB not in world.run_jobs(acme, include_scheduled=True)


def test_the_number_of_another_tenant_is_not_released(
    acme: Tenant, globex: Tenant, number: dict[str, Any]
) -> None:
    path = f"/phone-numbers/{number['id']}/release-previous-carrier"

    assert globex.post(path).status_code == 404
    assert _get_number(acme, number)["previous_carrier"] is not None
