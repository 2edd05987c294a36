"""The permission to dial is checked when a leg is ordered and again when it is dialled."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from tests.integration.tenant.call_control.conftest import SALES, get_call
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.services import app_services
from vca.kit import clock
from vca.services import Services
from vca.telephony.dial_permit import DialPermit
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import Listen, Say
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import outbound_legs, record
from vca.tenant.calls.core.call_types import CallRef, ForwardOrder, TransferOrder, TurnResult
from vca.tenant.calls.core.models import OutboundLeg
from vca.tenant.calls.turns import call_flow, dial_orders, transfers
from vca.tenant.settings.dialling import DiallingRefused

Change = Callable[[Flask, Factory, Tenant, dict[str, Any]], None]


def _invoke(app: Flask, *arguments: str) -> None:
    result = app.test_cli_runner().invoke(args=[*arguments])
    assert result.exit_code == 0, result.output


def _freeze(app: Flask, world: Factory, tenant: Tenant, number: dict[str, Any]) -> None:
    _invoke(app, "dialling", "freeze", "--tenant", tenant.id)


def _narrow(app: Flask, world: Factory, tenant: Tenant, number: dict[str, Any]) -> None:
    tenant.patch("/settings", {"dial_policy": {"countries": ["DE"]}})


def _lower_ceiling(app: Flask, world: Factory, tenant: Tenant, number: dict[str, Any]) -> None:
    body = {"limits": {"dialling": {"countries": ["DE"]}}}
    response = world.platform().api.patch(tenant.url("/settings"), body)
    assert response.status_code == 200, response.text


def _suspend(app: Flask, world: Factory, tenant: Tenant, number: dict[str, Any]) -> None:
    response = world.platform().api.patch(tenant.url(), {"status": "suspended"})
    assert response.status_code == 200, response.text


def _reach_cap(app: Flask, world: Factory, tenant: Tenant, number: dict[str, Any]) -> None:
    # What a month costs is not the point here: with a cap of 0 every amount has reached it.
    world.sql(tenant, "UPDATE settings SET spend_cap = 0")


def _deactivate(app: Flask, world: Factory, tenant: Tenant, number: dict[str, Any]) -> None:
    assert tenant.patch(f"/phone-numbers/{number['id']}", {"is_active": False}).status_code == 200


def _operations(carrier: FakeTelephonyAdapter) -> list[str]:
    return [operation for operation, _ in carrier.operations]


def _count_legs(tenant: Tenant) -> int:
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return len(session.scalars(select(OutboundLeg)).all())


@pytest.fixture
def ordered_call(world: Factory, acme: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    """Return a call that is ordered and not dialled yet."""
    world.run_jobs(acme)
    body = {"to": fresh_number(), "from_phone_number_id": number["id"]}
    response = acme.post("/calls", body)
    assert response.status_code == 202, response.text
    call: dict[str, Any] = response.json
    return call


@pytest.mark.parametrize(
    ("change", "end_reason", "end_detail"),
    [
        (_freeze, "declined", "frozen"),
        (_narrow, "declined", "country"),
        (_lower_ceiling, "declined", "country"),
        (_suspend, "tenant_suspended", "suspended"),
        (_reach_cap, "spend_cap", None),
        (_deactivate, "number_inactive", "the number is not active"),
    ],
)
def test_a_change_between_order_and_dial_stops_the_call(
    app: Flask,
    world: Factory,
    acme: Tenant,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
    ordered_call: dict[str, Any],
    change: Change,
    end_reason: str,
    end_detail: str | None,
) -> None:
    change(app, world, acme, number)

    world.run_jobs(acme)

    assert "place_call" not in _operations(carrier)
    call = world.platform().api.get(acme.url(f"/calls/{ordered_call['id']}")).json
    assert (call["status"], call["end_reason"]) == ("failed", end_reason)
    assert call["end_detail"] == end_detail
    assert call["ended_at"] is not None


def test_an_unchanged_permission_dials_the_call_and_counts_it_once(
    world: Factory, acme: Tenant, carrier: FakeTelephonyAdapter, ordered_call: dict[str, Any]
) -> None:
    acme.patch("/settings", {"dial_policy": {"per_minute": 1, "per_day": 1}})

    world.run_jobs(acme)

    assert _operations(carrier).count("place_call") == 1
    assert _count_legs(acme) == 1
    with (
        tenant_session(acme.ref, database=app_services().database) as session,
        pytest.raises(DiallingRefused) as refusal,
    ):
        outbound_legs.authorise_leg(
            session,
            SALES,
            kind="call",
            call_id=None,
            from_number=ordered_call["caller_number"],
            services=app_services(),
        )
    assert refusal.value.reason == "per_minute"


def test_a_lowered_frequency_stops_the_calls_that_exceed_it(
    world: Factory,
    acme: Tenant,
    platform: Platform,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    platform.api.patch(acme.url("/settings"), {"limits": {"concurrent_calls": 5}})
    world.run_jobs(acme)
    body = {"from_phone_number_id": number["id"]}
    calls = [acme.post("/calls", {**body, "to": fresh_number()}).json for _ in range(3)]
    acme.patch("/settings", {"dial_policy": {"per_minute": 2}})

    world.run_jobs(acme)

    assert _operations(carrier).count("place_call") == 2
    assert [get_call(acme, call)["end_detail"] for call in calls] == [None, None, "per_minute"]


def test_an_unrecorded_leg_is_counted_when_it_is_dialled(
    acme: Tenant, call: dict[str, Any], number: dict[str, Any]
) -> None:
    leg: dict[str, Any] = {
        "kind": "transfer",
        "call_id": UUID(call["id"]),
        "from_number": number["did_number"],
    }
    for _ in range(2):
        with tenant_session(acme.ref, database=app_services().database) as session:
            assert (
                outbound_legs.permit_leg(session, SALES, **leg, services=app_services()).number
                == SALES
            )

    assert _count_legs(acme) == 1


@pytest.fixture
def freeze_before_dialling(app: Flask, acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Freeze dialling after each order, before its permission is checked again."""
    permit_order = dial_orders.permit_order

    def freeze_and_permit(
        ref: CallRef, order: ForwardOrder | TransferOrder, *, services: Services
    ) -> DialPermit:
        _invoke(app, "dialling", "freeze", "--tenant", acme.id)
        return permit_order(ref, order, services=services)

    monkeypatch.setattr(dial_orders, "permit_order", freeze_and_permit)


def test_a_transfer_that_waited_for_its_websocket_is_checked_again(
    app: Flask, world: Factory, acme: Tenant, call: dict[str, Any], number: dict[str, Any]
) -> None:
    ref = CallRef(acme.ref, UUID(call["id"]))
    with tenant_session(acme.ref, database=app_services().database) as session:
        call_context = record.lock_call_context(session, ref.call_id)
        transfers.start_transfer(
            session, ref, call_context, target="sales", now=clock.now(), services=app_services()
        )
    _freeze(app, world, acme, number)

    resumption = call_flow.resume_call(ref, repeat_last=False, services=app_services())
    assert isinstance(resumption, TurnResult)
    permitted = dial_orders.permit_orders(resumption, services=app_services())

    assert [type(action) for action in permitted.actions] == [Say, Listen]
    assert get_call(acme, call)["status"] == "in_progress"
    assert _count_legs(acme) == 1


@pytest.mark.usefixtures("freeze_before_dialling")
def test_a_transfer_by_the_api_is_refused_and_the_caller_stays(
    acme: Tenant, call: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    response = acme.post(f"/calls/{call['id']}/transfer", {"target": "sales"})

    assert (response.status_code, response.json["code"]) == (409, "dialling-refused")
    assert "direct" not in _operations(carrier)
    assert get_call(acme, call)["status"] == "in_progress"


@pytest.mark.usefixtures("freeze_before_dialling")
def test_a_forward_that_is_refused_at_the_last_moment_ends_the_call_as_declined(
    acme: Tenant, carrier_client: CarrierClient
) -> None:
    number = acme.number(mode="forward", forward_to=SALES)

    response = carrier_client.ring(number["did_number"], "forwarded-1")

    assert [action["type"] for action in response["actions"]] == ["say", "hang_up"]
    call = acme.get("/calls").json[0]
    assert (call["status"], call["end_reason"]) == ("completed", "declined")
    assert call["end_detail"] == "frozen"


def test_a_repeated_request_is_checked_again(
    app: Flask, world: Factory, acme: Tenant, carrier_client: CarrierClient
) -> None:
    number = acme.number(mode="forward", forward_to=SALES)
    first = carrier_client.ring(number["did_number"], "repeated-1")
    assert [action["type"] for action in first["actions"]] == ["forward"]
    _freeze(app, world, acme, number)

    second = carrier_client.ring(number["did_number"], "repeated-1")

    assert [action["type"] for action in second["actions"]] == ["say", "hang_up"]


def test_a_suspended_tenants_calls_are_refused_when_ordered(
    app: Flask, world: Factory, acme: Tenant, platform: Platform, number: dict[str, Any]
) -> None:
    _suspend(app, world, acme, number)

    response = platform.api.post(
        acme.url("/calls"), {"to": fresh_number(), "from_phone_number_id": number["id"]}
    )

    assert (response.status_code, response.json["code"]) == (409, "dialling-refused")
