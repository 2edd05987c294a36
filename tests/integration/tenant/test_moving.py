"""A number moves: one change, and where it was may ring for thirty days or until released."""

from typing import Any
from uuid import UUID

import pytest

from tests.support import admin_db
from tests.support.accounts import OwnAccount, create_account, requested_operations
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Platform, Tenant
from vca.kit import clock
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.phone_numbers import porting
from vca.tenant.phone_numbers.porting import LEAVE_JOB
from vca.tenant.phone_numbers.registration import UNREGISTER_JOB


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    """By the deployment's account."""
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def own_account(carrier: FakeTelephonyAdapter, acme: Tenant) -> OwnAccount:
    acme.profile(greeting="Acme here.")
    return create_account(acme)


@pytest.fixture
def number(acme: Tenant, world: Factory, own_account: OwnAccount) -> dict[str, Any]:
    """A number that was on the deployment's account, and is on acme's own by now."""
    number = acme.number(provider_type="fake")
    world.run_jobs(acme)
    moved = acme.patch(f"/phone-numbers/{number['id']}", own_account.number_fields)
    assert moved.status_code == 200
    found: dict[str, Any] = moved.json
    return found


def _shown(tenant: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get(f"/phone-numbers/{number['id']}").json
    return found


def _status(line: CarrierClient, number: dict[str, Any], call_id: str) -> int:
    request = line.build_request("voice", call_id=call_id, to=number["did_number"])
    return line.send(request).status_code


def test_where_it_was_is_shown_and_may_ring(
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
        _status(carrier_client, number, "old-1")
        == _status(own_account.carrier_client(anonymous), number, "new-1")
        == 200
    )
    calls = {call["provider_call_id"]: call for call in acme.get("/calls").json}
    assert calls["old-1"]["telephony_account_id"] is None
    assert calls["new-1"]["telephony_account_id"] == own_account.id


def test_it_is_registered_where_it_is_and_not_torn_down_where_it_was(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    world.run_jobs(acme)

    assert own_account.carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert _shown(acme, number)["registration"]["status"] == "registered"


def test_released_the_old_one_is_refused_and_lets_it_go(
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

    assert _shown(acme, number)["previous_carrier"] is None
    assert _status(carrier_client, number, "old-1") == 403
    assert acme.get("/calls").json == []
    assert carrier.registered_numbers == {}
    assert requested_operations(carrier).count("unregister_number") == 1
    assert own_account.carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert _shown(acme, number)["registration"]["status"] == "registered"


def test_after_thirty_days_the_old_one_is_refused_before_any_job_has_run(
    acme: Tenant, number: dict[str, Any], carrier_client: CarrierClient, platform: Platform
) -> None:
    with admin_db.public_session() as session:
        session.connection().exec_driver_sql(
            "UPDATE public.dids SET previous_until = now() WHERE did_number = %s",
            (number["did_number"],),
        )

    assert _status(carrier_client, number, "old-1") == 403
    assert acme.get("/calls").json == []


def test_after_thirty_days_the_old_one_lets_it_go(
    acme: Tenant,
    world: Factory,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    own_account: OwnAccount,
) -> None:
    world.run_jobs(acme)
    world.make_due(acme, LEAVE_JOB)
    assert world.run_jobs(acme) == [LEAVE_JOB]  # before its time it does nothing
    assert carrier.registered_numbers != {}

    porting.release_if_due(
        acme.ref, phone_number_id=UUID(number["id"]), now=clock.now() + porting.PREVIOUS_CARRIER_TTL
    )
    world.run_jobs(acme)

    assert carrier.registered_numbers == {}
    assert own_account.carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert _shown(acme, number)["previous_carrier"] is None


def test_one_job_waits_for_it_however_often_it_moves(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    second = create_account(acme)
    world.run_jobs(acme)

    acme.patch(f"/phone-numbers/{number['id']}", second.number_fields)
    done = world.run_jobs(acme, include_scheduled=True)

    assert done.count(LEAVE_JOB) == 1
    assert carrier.registered_numbers == {}  # the first of the three
    assert own_account.carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert _shown(acme, number)["previous_carrier"]["telephony_account_id"] == own_account.id


def test_moving_back_keeps_the_registration_where_it_goes_back_to(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier_client: CarrierClient,
    carrier: FakeTelephonyAdapter,
) -> None:
    world.run_jobs(acme)

    back = {"provider_type": "generic", "telephony_account_id": None}
    acme.patch(f"/phone-numbers/{number['id']}", back)
    world.run_jobs(acme)

    assert carrier.registered_numbers == {number["did_number"]: acme.ref.id}
    assert "unregister_number" not in requested_operations(carrier)
    assert _shown(acme, number)["previous_carrier"]["telephony_account_id"] == own_account.id
    assert _status(carrier_client, number, "back-1") == 200


def test_an_order_to_let_go_that_comes_late_does_not_tear_down_what_may_ring_again(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    """Released, and while the carrier is away moved back there and away once more."""
    one = f"/phone-numbers/{number['id']}"
    world.run_jobs(acme)
    carrier.fail_next(TelephonyError("away", permanent=False))
    acme.post(f"{one}/release-previous-carrier")
    world.run_jobs(acme)
    for place in (
        {"provider_type": "fake", "telephony_account_id": None},
        own_account.number_fields,
    ):
        acme.patch(one, place)
        world.run_jobs(acme)

    world.make_due(acme, UNREGISTER_JOB)
    world.run_jobs(acme)

    assert _shown(acme, number)["previous_carrier"]["telephony_account_id"] is None
    assert carrier.registered_numbers == {number["did_number"]: acme.ref.id}


def test_another_name_of_the_same_carrier_is_no_move(
    acme: Tenant, world: Factory, own_account: OwnAccount, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number(provider_type="generic")
    world.run_jobs(acme)

    renamed = acme.patch(f"/phone-numbers/{number['id']}", {"provider_type": "fake"}).json
    world.run_jobs(acme)

    assert renamed["previous_carrier"] is None
    assert "unregister_number" not in requested_operations(carrier)


def test_an_inactive_number_rings_from_nowhere_and_is_registered_nowhere(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    world.run_jobs(acme)

    off = acme.patch(f"/phone-numbers/{number['id']}", {"is_active": False}).json
    world.run_jobs(acme)

    assert off["previous_carrier"] is None
    assert carrier.registered_numbers == own_account.carrier.registered_numbers == {}


def test_a_number_that_is_moved_and_switched_off_at_once_is_registered_nowhere(
    acme: Tenant, world: Factory, own_account: OwnAccount, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)

    acme.patch(f"/phone-numbers/{number['id']}", {**own_account.number_fields, "is_active": False})
    world.run_jobs(acme)

    assert carrier.registered_numbers == own_account.carrier.registered_numbers == {}


def test_a_number_that_is_given_back_leaves_both(
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


def test_another_tenants_number_is_not_released(
    acme: Tenant, globex: Tenant, number: dict[str, Any]
) -> None:
    path = f"/phone-numbers/{number['id']}/release-previous-carrier"

    assert globex.post(path).status_code == 404
    assert _shown(acme, number)["previous_carrier"] is not None
