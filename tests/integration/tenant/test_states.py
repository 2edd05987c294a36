"""The state machine: any shuffle of any duplicated list of events is one final state."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tests.support.factories import Tenant
from vca.telephony.types import CallEvent
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import record
from vca.tenant.calls.core.call_types import NewCall
from vca.tenant.calls.core.models import Call, Event
from vca.tenant.calls.core.state_machine import (
    CARRIER_END_REASONS,
    END_REASONS,
    STATUS_RANKS,
    TERMINAL,
    LifecycleState,
    next_state,
    state_from_events,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 600).map(lambda seconds: START + timedelta(seconds=seconds))


def _event(event_type: str, at: datetime, reason: str | None, detail: str | None) -> CallEvent:
    over = event_type in ("ENDED", "FAILED")
    return CallEvent(
        event_type,  # type: ignore[arg-type]
        "call",
        at,
        "key",
        reason if over else None,
        detail if over else None,
    )


EVENTS = st.lists(
    st.builds(
        _event,
        st.sampled_from(["INITIATED", "RINGING", "ANSWERED", "ENDED", "FAILED"]),
        MOMENTS,
        st.sampled_from(END_REASONS),
        st.none() | st.sampled_from(["486", "603"]),
    ),
    min_size=1,
    max_size=8,
)


def _fold(events: list[CallEvent]) -> LifecycleState:
    state = LifecycleState("queued", started_at=START)
    for event in events:
        state = next_state(state, event)
    return state


@given(st.data())
def test_any_shuffle_with_duplicates_ends_in_the_same_state(data: st.DataObject) -> None:
    events = data.draw(EVENTS)
    again = data.draw(st.lists(st.sampled_from(events), max_size=6))
    shuffled = data.draw(st.permutations([*events, *again]))

    assert _fold(shuffled) == _fold(events)


@given(EVENTS)
def test_a_call_never_goes_back(events: list[CallEvent]) -> None:
    state = LifecycleState("queued", started_at=START)
    for event in events:
        before, state = state, next_state(state, event)

        assert STATUS_RANKS[state.status] >= STATUS_RANKS[before.status]
        if before.status in TERMINAL:
            assert state.status in TERMINAL
            assert state.end_reason is not None


def test_a_call_that_was_answered_completes_and_one_that_never_was_fails() -> None:
    ring, answer, end, fail = (
        _event(kind, START, "caller_hangup", None)
        for kind in ("RINGING", "ANSWERED", "ENDED", "FAILED")
    )

    assert _fold([ring, answer, end]).status == "completed"
    assert _fold([ring, answer, fail]).status == "completed"
    assert _fold([ring, fail]).status == "failed"


def test_who_ended_a_call_on_purpose_knows_better_than_its_carrier() -> None:
    carrier = _event("ENDED", START, "caller_hangup", "16")
    ours = _event("ENDED", START + timedelta(seconds=1), "max_turns", None)

    assert _fold([carrier, ours]).end_reason == "max_turns"
    assert _fold([ours, carrier]).ended_at == START


# --- In the database -----------------------------------------------------------------------------

_OWN = ("agent_hangup", "api_hangup", "transferred", "voicemail", "max_duration", "model_error")
_TOLD = st.tuples(
    st.sampled_from(["INITIATED", "RINGING", "ANSWERED", "ENDED", "FAILED"]),
    MOMENTS,
    st.sampled_from([*CARRIER_END_REASONS, *_OWN]),
    st.none() | st.sampled_from(["486", "603"]),
)
_COLUMNS = ("status", "started_at", "answered_at", "ended_at", "end_reason", "end_detail")


@pytest.fixture
def record_of(acme: Tenant) -> Callable[[list[CallEvent]], tuple[Any, ...]]:
    """The row of a call of which these events were told, each with its events on record."""

    def recorded(events: list[CallEvent]) -> tuple[Any, ...]:
        call_id = uuid4()
        call = NewCall(None, None, None, None, "withheld", "", "fake", call_id.hex, True, {})
        with tenant_session(acme.ref) as session:
            record.insert_call(session, call_id, call, [], state_from_events([_FIRST]), greeting="")
        for event in events:
            with tenant_session(acme.ref) as session:
                record.apply_event(session, call_id, event)
        with tenant_session(acme.ref) as session:
            row = session.get_one(Call, call_id)
            kept = select(Event.event_key).where(Event.call_id == call_id)
            keys = sorted(session.scalars(kept))
            return (*(getattr(row, column) for column in _COLUMNS), *keys)

    return recorded


_FIRST = _event("RINGING", START, None, None)
# `make chaos` looks at a thousand; each event is a transaction of its own.
_SHUFFLES = int(os.environ.get("SHUFFLES", "20"))


@settings(
    max_examples=_SHUFFLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_shuffle_of_any_duplicated_events_is_the_same_row(
    record_of: Callable[[list[CallEvent]], tuple[Any, ...]], data: st.DataObject
) -> None:
    told = data.draw(st.lists(_TOLD, min_size=1, max_size=5))
    events = [replace(_event(*each), key=f"event-{place}") for place, each in enumerate(told)]
    again = data.draw(st.lists(st.sampled_from(events), max_size=4))
    shuffled = data.draw(st.permutations([*events, *again]))

    assert record_of(shuffled) == record_of(events)
