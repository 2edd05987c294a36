"""Reconciliation: silent calls are looked up at their carrier, so that every call ends."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.integration.calls.conftest import CallRecord, RealCallerCarrier
from tests.support import admin_db
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.recordings import ProcessKilled
from tests.support.services import app_services
from vca.kit import clock
from vca.observability import metrics
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CallEvent
from vca.tenancy.session import tenant_session
from vca.tenant.calls.control import outbound_calls, reconciliation
from vca.tenant.calls.core import call_tokens, watchdog
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.turns import call_flow

OUTAGE = TelephonyError("away", permanent=False, code="503")
_SELECT_CHECK_TIMES = text(
    "SELECT scheduled_at FROM jobs.procrastinate_jobs WHERE task_name = 'calls.check'"
    " AND status = 'todo' AND args->>'tenant_id' = :tenant_id"
)


def _list_check_times(tenant: Tenant) -> list[datetime]:
    """Return when the tenant's waiting checks are due."""
    with admin_db.public_session() as session:
        return list(session.scalars(_SELECT_CHECK_TIMES, {"tenant_id": tenant.id}))


@pytest.fixture
def number(acme: Tenant) -> str:
    """Create a number of acme that an agent answers."""
    acme.profile(greeting="Acme here.", max_duration_seconds=600)
    did_number: str = acme.number()["did_number"]
    return did_number


@pytest.fixture
def ref(carrier_client: CarrierClient, real_carrier: RealCallerCarrier, number: str) -> CallRef:
    """Return an answered call that is live at its carrier."""
    state = carrier_client.ring(number, "call-1")["state"]
    real_carrier.live_calls.add("call-1")
    return call_tokens.verify_state(state, services=app_services()).ref


def _check_later(ref: CallRef, **delay: float) -> str:
    """Check the call as of a later time; return the result."""
    return reconciliation.check_call(
        ref, now=clock.now() + timedelta(**delay), services=app_services()
    )


def _count_lookups(carrier: FakeTelephonyAdapter) -> int:
    return sum(operation == "look_up" for operation, _ in carrier.operations)


# --- Scheduled checks and lookups -----------------------------------------------------------------


def test_the_first_check_of_a_call_is_due_after_the_silence_limit(
    acme: Tenant, ref: CallRef
) -> None:
    [due] = _list_check_times(acme)

    assert abs(due - clock.now() - watchdog.silence_limit(services=app_services())) < timedelta(
        seconds=30
    )


def test_an_active_call_is_not_looked_up_and_is_checked_later(
    acme: Tenant, world: Factory, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    world.run_jobs(acme, include_scheduled=True)

    assert _count_lookups(real_carrier) == 0
    assert len(_list_check_times(acme)) == 1


def test_a_silent_live_call_is_looked_up_and_checked_later(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    assert _check_later(ref, minutes=5) == "live"

    assert _count_lookups(real_carrier) == 1
    assert call_record.end_state == ("in_progress", None)
    assert len(_list_check_times(call_record.tenant)) == 1


def test_a_silent_call_with_an_event_from_the_future_is_looked_up(
    real_carrier: RealCallerCarrier, carrier_client: CarrierClient, ref: CallRef
) -> None:
    state = call_tokens.sign_state(
        CallState(ref, provider_call_id="call-1"), services=app_services()
    )
    carrier_client.send_status("call-1", "answered", state=state, at="2099-01-01T00:00:00+00:00")

    _check_later(ref, minutes=5)

    assert _count_lookups(real_carrier) == 1


# --- Results of a check ---------------------------------------------------------------------------


def test_a_call_that_ended_at_its_carrier_ends_with_the_carriers_reason(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    real_carrier.end_silently("call-1")

    assert _check_later(ref, minutes=5) == "ended"

    assert call_record.end_state == ("completed", "caller_hangup")
    assert _list_check_times(call_record.tenant) == []


def test_a_call_unknown_to_its_carrier_ends_as_lost(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    real_carrier.live_calls.clear()

    assert _check_later(ref, minutes=5) == "ended"

    assert call_record.end_state == ("completed", "lost")
    assert call_record.call["end_detail"] == "the carrier does not know the call"
    assert _list_check_times(call_record.tenant) == []


def test_a_call_of_a_carrier_without_configuration_ends_as_lost(
    call_record: CallRecord, ref: CallRef, world: Factory
) -> None:
    world.sql(call_record.tenant, "UPDATE calls SET provider_type = 'gone'")

    assert _check_later(ref, minutes=5) == "ended"

    assert call_record.end_state == ("completed", "lost")


def test_a_call_ends_as_lost_after_a_day_without_a_carrier_response(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    real_carrier.fail_next(OUTAGE)
    assert _check_later(ref, minutes=5) == "unknown"
    end_state = call_record.end_state
    assert end_state == ("in_progress", None)
    assert len(_list_check_times(call_record.tenant)) == 1

    real_carrier.fail_next(OUTAGE)
    assert _check_later(ref, hours=25) == "ended"

    assert call_record.end_state == ("completed", "lost")


def test_a_call_over_its_maximum_duration_is_hung_up(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    assert _check_later(ref, minutes=19) == "live"
    assert _check_later(ref, minutes=21) == "ended"

    assert ("hang_up", {"call_id": "call-1"}) in real_carrier.operations
    assert call_record.end_state == ("completed", "max_duration")
    assert _list_check_times(call_record.tenant) == []


def test_a_failed_hang_up_of_a_call_over_its_maximum_duration_is_retried(
    call_record: CallRecord,
    real_carrier: RealCallerCarrier,
    ref: CallRef,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail_to_hang_up(self: object, provider_call_id: str) -> None:
        raise OUTAGE

    monkeypatch.setattr(RealCallerCarrier, "hang_up", fail_to_hang_up)

    assert _check_later(ref, minutes=21) == "live"

    assert call_record.end_state == ("in_progress", None)
    assert len(_list_check_times(call_record.tenant)) == 1


def test_a_simulated_call_without_a_turn_ends_as_abandoned(
    acme: Tenant, carrier: FakeTelephonyAdapter, call_record: CallRecord, number: str
) -> None:
    call_id = acme.simulate(number)["call_id"]
    [due] = _list_check_times(acme)
    idle_limit = watchdog.silence_limit(simulated=True, services=app_services())
    assert abs(due - clock.now() - idle_limit) < timedelta(seconds=30)

    results = [
        _check_later(CallRef(acme.ref, UUID(call_id)), minutes=minutes) for minutes in (3, 5)
    ]

    assert results == ["live", "ended"]
    assert call_record.end_state == ("completed", "abandoned")
    assert _list_check_times(acme) == []
    assert _count_lookups(carrier) == 0


def test_an_immediate_check_does_not_end_a_simulated_call(
    acme: Tenant, carrier: FakeTelephonyAdapter, call_record: CallRecord, number: str
) -> None:
    call_id = acme.simulate(number)["call_id"]

    result = reconciliation.check_call(
        CallRef(acme.ref, UUID(call_id)), immediately=True, services=app_services()
    )

    assert result == "live"
    assert call_record.end_state == ("in_progress", None)


# --- The end of a call ----------------------------------------------------------------------------


def test_an_ended_call_has_no_scheduled_check(acme: Tenant, ref: CallRef) -> None:
    event = CallEvent("ENDED", "call-1", clock.now(), "end", end_reason="api_hangup")

    call_flow.apply_call_event(ref, event=event, services=app_services())

    assert _list_check_times(acme) == []


def test_a_call_ends_in_the_transaction_that_deletes_its_check(
    acme: Tenant, ref: CallRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_and_kill(*_: object, **__: object) -> None:
        assert _list_check_times(acme) != []  # the deletion is not committed
        raise ProcessKilled

    monkeypatch.setattr(metrics.CALLS_ENDED, "inc", check_and_kill)
    event = CallEvent("ENDED", "call-1", clock.now(), "end", end_reason="caller_hangup")

    with pytest.raises(ProcessKilled):
        call_flow.apply_call_event(ref, event=event, services=app_services())

    assert len(_list_check_times(acme)) == 1
    assert acme.get("/calls").json[0]["status"] == "in_progress"


def test_a_call_without_an_agent_has_no_scheduled_check(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    carrier_client.ring(acme.number(mode="closed")["did_number"], "closed-1")

    assert _list_check_times(acme) == []


# --- Outbound calls -------------------------------------------------------------------------------


@pytest.fixture
def ordered_call(real_carrier: RealCallerCarrier, acme: Tenant, number: str) -> CallRef:
    """Order an outbound call without dialling it."""
    [phone_number] = acme.get("/phone-numbers").json
    with tenant_session(acme.ref, database=app_services().database) as session:
        call = outbound_calls.place_call(
            session,
            to=fresh_number(),
            from_phone_number_id=UUID(phone_number["id"]),
            services=app_services(),
        )
        return CallRef(acme.ref, call.id)


def test_checks_dial_an_ordered_call_once(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ordered_call: CallRef
) -> None:
    assert _check_later(ordered_call, minutes=3) == "live"
    assert _check_later(ordered_call, minutes=6) == "live"

    assert [operation for operation, _ in real_carrier.operations].count("place_call") == 1
    assert call_record.call["provider_call_id"] == f"placed-{ordered_call.call_id.hex}"


def test_an_ordered_call_that_cannot_be_dialled_ends_as_lost(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ordered_call: CallRef
) -> None:
    real_carrier.fail_next(OUTAGE)
    assert _check_later(ordered_call, minutes=3) == "live"

    assert _check_later(ordered_call, minutes=30) == "ended"

    assert call_record.end_state == ("failed", "lost")
    assert real_carrier.placed_calls == {}
