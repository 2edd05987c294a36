"""The state machine: any shuffle of any duplicated list of events is one final state."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vca.telephony.types import CallEvent
from vca.tenant.calls.states import END_REASONS, RANKS, TERMINAL, State, after

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


def _fold(events: list[CallEvent]) -> State:
    state = State("queued", started_at=START)
    for event in events:
        state = after(state, event)
    return state


@given(st.data())
def test_any_shuffle_with_duplicates_ends_in_the_same_state(data: st.DataObject) -> None:
    events = data.draw(EVENTS)
    again = data.draw(st.lists(st.sampled_from(events), max_size=6))
    shuffled = data.draw(st.permutations([*events, *again]))

    assert _fold(shuffled) == _fold(events)


@given(EVENTS)
def test_a_call_never_goes_back(events: list[CallEvent]) -> None:
    state = State("queued", started_at=START)
    for event in events:
        before, state = state, after(state, event)

        assert RANKS[state.status] >= RANKS[before.status]
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
