"""Every call ends: one that has gone silent is asked about, and one that has ended never."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.integration.calls.conftest import CallRecord, RealCallerCarrier
from tests.support import admin_db
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.recordings import ProcessKilled
from vca.kit import clock
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CallEvent
from vca.tenancy.session import tenant_session
from vca.tenant.calls.control import outbound_calls, reconciliation
from vca.tenant.calls.core import call_end, watchdog
from vca.tenant.calls.core.call_services import current_services
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.turns import call_flow

AWAY = TelephonyError("away", permanent=False, code="503")
_CHECKS = text(
    "SELECT scheduled_at FROM jobs.procrastinate_jobs WHERE task_name = 'calls.check'"
    " AND status = 'todo' AND args->>'tenant_id' = :tenant_id"
)


def _checks(tenant: Tenant) -> list[datetime]:
    """When the tenant's waiting checks are due."""
    with admin_db.public_session() as session:
        return list(session.scalars(_CHECKS, {"tenant_id": tenant.id}))


@pytest.fixture
def number(acme: Tenant) -> str:
    """A number of acme's that an agent answers."""
    acme.profile(greeting="Acme here.", max_duration_seconds=600)
    found: str = acme.number()["did_number"]
    return found


@pytest.fixture
def ref(carrier_client: CarrierClient, real_carrier: RealCallerCarrier, number: str) -> CallRef:
    """A call that lives at its carrier."""
    state = carrier_client.ring(number, "call-1")["state"]
    real_carrier.live_calls.add("call-1")
    return current_services().verify_state(state).ref


def _later(ref: CallRef, **after: float) -> str:
    return reconciliation.check_call(ref, now=clock.now() + timedelta(**after))


def _looked_up(carrier: FakeTelephonyAdapter) -> int:
    return sum(what == "look_up" for what, _ in carrier.operations)


# --- Who is asked, and when ----------------------------------------------------------------------


def test_a_call_that_begins_is_looked_at_once_it_has_been_silent_for_long(
    acme: Tenant, ref: CallRef
) -> None:
    [due] = _checks(acme)

    assert abs(due - clock.now() - watchdog.silence_limit()) < timedelta(seconds=30)


def test_a_call_that_gives_signs_of_life_is_not_asked_about_and_looked_at_later(
    acme: Tenant, world: Factory, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    world.run_jobs(acme, include_scheduled=True)

    assert _looked_up(real_carrier) == 0
    assert len(_checks(acme)) == 1


def test_a_silent_call_that_lives_is_looked_at_again(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    assert _later(ref, minutes=5) == "live"

    assert _looked_up(real_carrier) == 1
    assert call_record.end_state == ("in_progress", None)
    assert len(_checks(call_record.tenant)) == 1


def test_a_call_whose_carrier_is_years_ahead_is_asked_about_all_the_same(
    real_carrier: RealCallerCarrier, carrier_client: CarrierClient, ref: CallRef
) -> None:
    state = current_services().sign_state(ref)
    carrier_client.send_status("call-1", "answered", state=state, at="2099-01-01T00:00:00+00:00")

    _later(ref, minutes=5)

    assert _looked_up(real_carrier) == 1


# --- What is found -------------------------------------------------------------------------------


def test_a_call_that_has_ended_at_its_carrier_ends_as_the_carrier_says(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    real_carrier.end_silently("call-1")

    assert _later(ref, minutes=5) == "ended"

    assert call_record.end_state == ("completed", "caller_hangup")
    assert _checks(call_record.tenant) == []


def test_a_call_that_its_carrier_does_not_know_is_lost(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    real_carrier.live_calls.clear()

    assert _later(ref, minutes=5) == "ended"

    assert call_record.end_state == ("completed", "lost")
    assert call_record.call["end_detail"] == "the carrier does not know the call"
    assert _checks(call_record.tenant) == []


def test_a_call_whose_carrier_is_not_configured_any_more_is_lost(
    call_record: CallRecord, ref: CallRef, world: Factory
) -> None:
    world.sql(call_record.tenant, "UPDATE calls SET provider_type = 'gone'")

    assert _later(ref, minutes=5) == "ended"

    assert call_record.end_state == ("completed", "lost")


def test_a_carrier_that_is_away_is_asked_again_but_not_for_ever(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    real_carrier.fail_next(AWAY)
    assert _later(ref, minutes=5) == "unknown"
    assert call_record.end_state == ("in_progress", None)
    assert len(_checks(call_record.tenant)) == 1

    real_carrier.fail_next(AWAY)
    assert _later(ref, hours=25) == "ended"

    assert call_record.end_state == ("completed", "lost")


def test_a_call_that_lasts_too_long_is_hung_up(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ref: CallRef
) -> None:
    assert _later(ref, minutes=19) == "live"
    assert _later(ref, minutes=21) == "ended"

    assert ("hang_up", {"call_id": "call-1"}) in real_carrier.operations
    assert call_record.end_state == ("completed", "max_duration")
    assert _checks(call_record.tenant) == []


def test_a_call_that_lasts_too_long_and_cannot_be_hung_up_is_tried_again(
    call_record: CallRecord,
    real_carrier: RealCallerCarrier,
    ref: CallRef,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(self: object, provider_call_id: str) -> None:
        raise AWAY

    monkeypatch.setattr(RealCallerCarrier, "hang_up", away)

    assert _later(ref, minutes=21) == "live"

    assert call_record.end_state == ("in_progress", None)
    assert len(_checks(call_record.tenant)) == 1


def test_a_simulated_call_that_was_left_open_ends_too(
    acme: Tenant, carrier: FakeTelephonyAdapter, call_record: CallRecord, number: str
) -> None:
    call_id = acme.simulate(number)["call_id"]
    assert len(_checks(acme)) == 1

    found = _later(CallRef(acme.ref, UUID(call_id)), minutes=5)

    assert found == "ended"
    assert call_record.end_state == ("completed", "lost")
    assert _checks(acme) == []


# --- The end of a call ---------------------------------------------------------------------------


def test_nobody_looks_at_a_call_that_has_ended(acme: Tenant, ref: CallRef) -> None:
    event = CallEvent("ENDED", "call-1", clock.now(), "end", end_reason="api_hangup")

    call_flow.apply_call_event(ref, event=event)

    assert _checks(acme) == []


def test_the_end_of_a_call_and_of_its_watch_are_one_transaction(
    acme: Tenant, ref: CallRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        assert _checks(acme) != []  # nobody else sees it withdrawn yet
        raise ProcessKilled

    monkeypatch.setattr(call_end.metrics.CALLS_ENDED, "inc", killed)
    event = CallEvent("ENDED", "call-1", clock.now(), "end", end_reason="caller_hangup")

    with pytest.raises(ProcessKilled):
        call_flow.apply_call_event(ref, event=event)

    assert len(_checks(acme)) == 1
    assert acme.get("/calls").json[0]["status"] == "in_progress"


def test_a_call_that_no_agent_answers_is_not_watched(
    carrier_client: CarrierClient, acme: Tenant, number: str
) -> None:
    carrier_client.ring(acme.number(mode="closed")["did_number"], "closed-1")

    assert _checks(acme) == []


# --- Calls that we place -------------------------------------------------------------------------


@pytest.fixture
def ordered_call(real_carrier: RealCallerCarrier, acme: Tenant, number: str) -> CallRef:
    """A call that was ordered, and nobody has come to dial."""
    [own] = acme.get("/phone-numbers").json
    with tenant_session(acme.ref) as session:
        call = outbound_calls.place_call(
            session, to=fresh_number(), from_phone_number_id=UUID(own["id"])
        )
        return CallRef(acme.ref, call.id)


def test_a_call_that_nobody_came_to_dial_is_dialled_once(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ordered_call: CallRef
) -> None:
    assert _later(ordered_call, minutes=3) == "live"
    assert _later(ordered_call, minutes=6) == "live"

    assert [what for what, _ in real_carrier.operations].count("place_call") == 1
    assert call_record.call["provider_call_id"] == f"placed-{ordered_call.call_id.hex}"


def test_a_call_that_could_not_be_dialled_for_long_is_not_dialled_any_more(
    call_record: CallRecord, real_carrier: RealCallerCarrier, ordered_call: CallRef
) -> None:
    real_carrier.fail_next(AWAY)
    assert _later(ordered_call, minutes=3) == "live"

    assert _later(ordered_call, minutes=30) == "ended"

    assert call_record.end_state == ("failed", "lost")
    assert real_carrier.placed_calls == {}
