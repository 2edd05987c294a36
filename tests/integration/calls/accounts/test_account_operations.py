"""Operations at the carrier use the telephony account of the number or of the call."""

from typing import Any
from uuid import UUID

from tests.integration.calls.accounts.conftest import list_calls
from tests.support.accounts import OwnAccount, requested_operations
from tests.support.api import Api
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services
from vca.registry.number_registry import service as number_registry
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.calls.control import outbound_calls, reconciliation
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_types import CallRef


def test_operations_for_a_number_use_its_account_and_not_the_deployments(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    carrier: FakeTelephonyAdapter,
) -> None:
    world.run_jobs(acme)
    account_client = own_account.carrier_client(anonymous)
    state = account_client.ring(number["did_number"], "own-1")["state"]
    own_account.carrier.live_calls.add("own-1")
    call_id = list_calls(acme)[0]["id"]

    acme.post(f"/calls/{call_id}/say", {"text": "One moment."})
    assert (
        reconciliation.check_call(
            call_tokens.verify_state(state, services=app_services()).ref,
            immediately=True,
            services=app_services(),
        )
        == "live"
    )
    acme.post(f"/calls/{call_id}/transfer", {"target": "sales"})
    acme.post(f"/calls/{call_id}/hangup")
    acme.delete(f"/phone-numbers/{number['id']}")
    world.run_jobs(acme)

    assert requested_operations(own_account.carrier) == [
        "register_number",
        "direct",
        "look_up",
        "direct",
        "hang_up",
        "unregister_number",
    ]
    assert requested_operations(carrier) == []


def test_an_outbound_call_is_placed_by_the_account_of_its_number(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        to, number_id = fresh_number(), UUID(number["id"])
        call_id = outbound_calls.place_call(
            session, to=to, from_phone_number_id=number_id, services=app_services()
        ).id

    outbound_calls.dial(CallRef(acme.ref, call_id), services=app_services())

    assert requested_operations(own_account.carrier) == ["place_call"]
    assert requested_operations(carrier) == []
    [(_, arguments)] = own_account.carrier.operations
    token = call_tokens.verify_state(arguments["state"], services=app_services())
    assert token.account is not None
    assert str(token.account.account_id) == own_account.id
    assert acme.get(f"/calls/{call_id}").json["telephony_account_id"] == own_account.id


def test_a_recording_is_fetched_and_deleted_by_the_account_of_its_call(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    anonymous: Api,
    carrier: FakeTelephonyAdapter,
) -> None:
    profile = acme.profile(greeting="Taped.", recording=True)
    number = acme.number(**own_account.number_fields, ai_profile_id=profile["id"])
    account_client = own_account.carrier_client(anonymous)
    state = account_client.ring(number["did_number"], "own-1")["state"]
    own_account.carrier.add_recording("own-1", b"RIFF")

    account_client.send_status("own-1", "completed", state=state)
    world.run_jobs(acme)

    assert list_calls(acme)[0]["recording"]["status"] == "stored"
    assert requested_operations(own_account.carrier)[-2:] == ["recording", "delete_recording"]
    assert requested_operations(carrier) == []


def test_a_number_on_a_tenants_account_accepts_a_simulation(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    call = acme.simulate(number["did_number"])

    assert acme.say(call["call_id"], "Hello?")["status"] == "in_progress"
    assert list_calls(acme)[0]["telephony_account_id"] is None


def test_the_number_registry_stores_the_account_of_a_number(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any]
) -> None:
    with public_session(database=app_services().database) as session:
        entry = number_registry.get(session, number=number["did_number"])
        assert str(entry.telephony_account_id) == own_account.id
        assert entry.previous_until is None
