"""Tests of the call state machine: events in any order, with duplicates, yield one final state."""

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
from tests.support.services import app_services
from vca.telephony.types import CallEvent, EventType
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
EVENT_TYPES: list[EventType] = ["INITIATED", "RINGING", "ANSWERED", "ENDED", "FAILED"]
TIMES = st.integers(0, 600).map(lambda seconds: START + timedelta(seconds=seconds))


def _call_event(
    event_type: EventType, occurred_at: datetime, reason: str | None, detail: str | None
) -> CallEvent:
    is_final = event_type in ("ENDED", "FAILED")
    return CallEvent(
        event_type,
        "call",
        occurred_at,
        "key",
        reason if is_final else None,
        detail if is_final else None,
    )


EVENTS = st.lists(
    st.builds(
        _call_event,
        st.sampled_from(EVENT_TYPES),
        TIMES,
        st.sampled_from(END_REASONS),
        st.none() | st.sampled_from(["486", "603"]),
    ),
    min_size=1,
    max_size=8,
)


def _apply_events(events: list[CallEvent]) -> LifecycleState:
    state = LifecycleState("queued", started_at=START)
    for event in events:
        state = next_state(state, event)
    return state


@given(st.data())
def test_any_shuffle_with_duplicates_ends_in_the_same_state(data: st.DataObject) -> None:
    events = data.draw(EVENTS)
    duplicates = data.draw(st.lists(st.sampled_from(events), max_size=6))
    shuffled = data.draw(st.permutations([*events, *duplicates]))

    assert _apply_events(shuffled) == _apply_events(events)


@given(EVENTS)
def test_a_call_never_returns_to_an_earlier_status(events: list[CallEvent]) -> None:
    state = LifecycleState("queued", started_at=START)
    for event in events:
        before, state = state, next_state(state, event)

        assert STATUS_RANKS[state.status] >= STATUS_RANKS[before.status]
        if before.status in TERMINAL:
            assert state.status in TERMINAL
            assert state.end_reason is not None


def test_an_answered_call_completes_and_an_unanswered_call_fails() -> None:
    ring, answer, end, fail = (
        _call_event(kind, START, "caller_hangup", None)
        for kind in ("RINGING", "ANSWERED", "ENDED", "FAILED")
    )

    assert _apply_events([ring, answer, end]).status == "completed"
    assert _apply_events([ring, answer, fail]).status == "completed"
    assert _apply_events([ring, fail]).status == "failed"


@pytest.mark.parametrize("turn_around", [False, True])
def test_a_call_that_seems_to_end_before_its_answer_was_answered_when_it_ended(
    turn_around: bool,
) -> None:
    answer = _call_event("ANSWERED", START + timedelta(seconds=9), None, None)
    end = _call_event("ENDED", START + timedelta(seconds=5), "caller_hangup", None)

    state = _apply_events([end, answer] if turn_around else [answer, end])

    assert state.answered_at == state.ended_at == end.timestamp
    assert state.duration_seconds == 0


def test_an_end_reason_of_the_product_overrides_the_carriers() -> None:
    carrier_event = _call_event("ENDED", START, "caller_hangup", "16")
    product_event = _call_event("ENDED", START + timedelta(seconds=1), "max_turns", None)

    assert _apply_events([carrier_event, product_event]).end_reason == "max_turns"
    assert _apply_events([product_event, carrier_event]).ended_at == START


# --- Stored calls --------------------------------------------------------------------------------

_PRODUCT_END_REASONS = (
    "agent_hangup",
    "api_hangup",
    "transferred",
    "voicemail",
    "max_duration",
    "model_error",
)
_EVENT_FIELDS = st.tuples(
    st.sampled_from(EVENT_TYPES),
    TIMES,
    st.sampled_from([*CARRIER_END_REASONS, *_PRODUCT_END_REASONS]),
    st.none() | st.sampled_from(["486", "603"]),
)
_COLUMNS = ("status", "started_at", "answered_at", "ended_at", "end_reason", "end_detail")


@pytest.fixture
def store_call(acme: Tenant) -> Callable[[list[CallEvent]], tuple[Any, ...]]:
    """Return a function that stores a call with events and returns its columns and event keys."""

    def store_with_events(events: list[CallEvent]) -> tuple[Any, ...]:
        call_id = uuid4()
        call = NewCall(None, None, None, None, "withheld", "", "fake", call_id.hex, True, {})
        with tenant_session(acme.ref, database=app_services().database) as session:
            record.insert_call(
                session, call_id, call, [], state_from_events([_FIRST_EVENT]), greeting=""
            )
        for event in events:
            with tenant_session(acme.ref, database=app_services().database) as session:
                record.apply_event(
                    session, call_id, replace(event, call_id=call_id.hex), services=app_services()
                )
        with tenant_session(acme.ref, database=app_services().database) as session:
            row = session.get_one(Call, call_id)
            query = select(Event.event_key).where(Event.call_id == call_id)
            keys = sorted(session.scalars(query))
            return (*(getattr(row, column) for column in _COLUMNS), *keys)

    return store_with_events


_FIRST_EVENT = _call_event("RINGING", START, None, None)
# Each event is a transaction, so the default is low; `make chaos` sets a thousand.
_MAX_EXAMPLES = int(os.environ.get("SHUFFLES", "20"))


@settings(
    max_examples=_MAX_EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_shuffle_with_duplicates_stores_the_same_row(
    store_call: Callable[[list[CallEvent]], tuple[Any, ...]], data: st.DataObject
) -> None:
    event_fields = data.draw(st.lists(_EVENT_FIELDS, min_size=1, max_size=5))
    events = [
        replace(_call_event(*fields), key=f"event-{index}")
        for index, fields in enumerate(event_fields)
    ]
    duplicates = data.draw(st.lists(st.sampled_from(events), max_size=4))
    shuffled = data.draw(st.permutations([*events, *duplicates]))

    assert store_call(shuffled) == store_call(events)
