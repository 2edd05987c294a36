"""The lock on a call's row, with the turns that are read under it, and tokens of its turns."""

from collections.abc import Callable
from threading import Thread
from uuid import uuid4

import pytest

from tests.integration.calls.conftest import CallRecord
from tests.integration.tenancy.session_state import wait_for
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant
from tests.support.locks import open_transaction, waiting_pids
from tests.support.services import app_services
from vca.conversation.types import Tokens
from vca.kit import clock
from vca.kit.errors import NotFound
from vca.telephony.types import CallEvent
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import call_tokens, record, turn_records
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.models import TurnRecord
from vca.tenant.calls.core.state_machine import LifecycleState
from vca.tenant.calls.turns import call_flow


@pytest.fixture
def ref(carrier_client: CarrierClient, acme: Tenant) -> CallRef:
    """Return a live call with a greeting."""
    acme.profile(greeting="Acme here.")
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    return call_tokens.verify_state(str(state), services=app_services()).ref


def insert_turn(ref: CallRef, sequence: int, text: str) -> None:
    with tenant_session(ref.tenant, database=app_services().database) as session:
        record.lock_call_context(session, ref.call_id)
        turn_records.insert_turn(
            session,
            ref.call_id,
            sequence=sequence,
            speaker="caller",
            text=text,
            started_at=clock.now(),
        )


def read_turns(ref: CallRef, *, after: int = 0) -> list[TurnRecord]:
    with tenant_session(ref.tenant, database=app_services().database) as session:
        return list(record.lock_call_and_turns(session, ref.call_id, after=after)[1])


def read_texts(ref: CallRef) -> list[str]:
    return [turn.text for turn in read_turns(ref)]


def count_spoken_chars(ref: CallRef) -> int:
    with tenant_session(ref.tenant, database=app_services().database) as session:
        return record.lock_stored_call(session, ref.call_id).spoken_chars


@pytest.mark.parametrize(
    ("read", "expected"),
    [(read_texts, ["Acme here.", "Until six."]), (count_spoken_chars, 20)],
)
def test_turns_that_are_inserted_while_the_lock_is_awaited_are_read(
    ref: CallRef, database_url: str, read: Callable[[CallRef], object], expected: object
) -> None:
    schema = ref.tenant.schema
    results: list[object] = []
    reader = Thread(target=lambda: results.append(read(ref)))
    lock = f"SELECT FROM \"{schema}\".calls WHERE id = '{ref.call_id}' FOR UPDATE"
    with open_transaction(database_url, lock) as connection:
        reader.start()
        wait_for(lambda: waiting_pids(connection))
        with connection.cursor() as cursor:
            cursor.execute(
                f'INSERT INTO "{schema}".turns'
                " (tenant_id, call_id, sequence, speaker, text, started_at, latency_ms)"
                " VALUES (%s, %s, 2, 'agent', 'Until six.', now(), '{}')",
                [str(ref.tenant.id), str(ref.call_id)],
            )
        connection.commit()
    reader.join()

    assert results == [expected]


def test_an_event_that_waits_for_the_lock_is_applied_to_the_state_that_was_stored_meanwhile(
    ref: CallRef, database_url: str
) -> None:
    states: list[LifecycleState] = []
    event = CallEvent("ENDED", "call-1", clock.now(), "end-1", end_reason="caller_hangup")
    writer = Thread(
        target=lambda: states.append(
            call_flow.apply_call_event(ref, event=event, services=app_services())
        )
    )
    update = (
        f"UPDATE \"{ref.tenant.schema}\".calls SET status = 'completed', ended_at = now(),"
        f" end_reason = 'agent_hangup' WHERE id = '{ref.call_id}'"
    )
    with open_transaction(database_url, update) as connection:
        writer.start()
        wait_for(lambda: waiting_pids(connection))
        connection.commit()
    writer.join()

    assert [state.end_reason for state in states] == ["agent_hangup"]


def test_the_first_turns_can_be_skipped(ref: CallRef) -> None:
    insert_turn(ref, 2, "When?")
    insert_turn(ref, 3, "Hello?")

    assert [turn.text for turn in read_turns(ref, after=1)] == ["When?", "Hello?"]
    assert [turn.sequence for turn in read_turns(ref, after=2)] == [3]
    assert read_turns(ref, after=3) == []


def test_a_call_that_does_not_exist_is_not_found(ref: CallRef) -> None:
    with pytest.raises(NotFound):
        read_turns(CallRef(ref.tenant, uuid4()))


def test_tokens_of_turns_are_added(ref: CallRef, call_record: CallRecord) -> None:
    for _ in range(2):
        with tenant_session(ref.tenant, database=app_services().database) as session:
            call_context = record.lock_call_context(session, ref.call_id)
            record.add_tokens(session, call_context, Tokens(7, 3))

    with tenant_session(ref.tenant, database=app_services().database) as session:
        call = record.get_call(session, ref.call_id)
        assert (call.tokens, call.output_tokens) == (20, 6)
