"""Replies without actions are stored in one round trip, once, and only while the call is live."""

from threading import Thread
from typing import Any

import pytest

from tests.integration.calls.conftest import CallRecord
from tests.integration.tenancy.session_state import wait_for
from tests.support.carrier_client import CarrierClient
from tests.support.concurrency import run_concurrently
from tests.support.factories import Tenant
from tests.support.locks import open_transaction, waiting_pids
from tests.support.services import app_services
from vca.conversation.types import Tokens
from vca.kit import clock
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import call_tokens, record, turn_records
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.models import Turn


@pytest.fixture
def ref(carrier_client: CarrierClient, acme: Tenant) -> CallRef:
    """Return a live call with a greeting and an utterance, its turns 1 and 2."""
    acme.profile(greeting="Acme here.")
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    ref = call_tokens.verify_state(str(state), services=app_services()).ref
    with tenant_session(ref.tenant, database=app_services().database) as session:
        record.lock_call_context(session, ref.call_id)
        turn_records.insert_turn(
            session,
            ref.call_id,
            sequence=2,
            speaker="caller",
            text="When?",
            started_at=clock.now(),
        )
    return ref


def store_reply(ref: CallRef, text: str = "At five.", **details: Any) -> int | None:
    details = {"answers": 2, "tokens": Tokens(7, 3), **details}
    return turn_records.store_reply(
        ref, text=text, started_at=clock.now(), **details, services=app_services()
    )


def read_turns(ref: CallRef) -> list[Turn]:
    with tenant_session(ref.tenant, database=app_services().database) as session:
        return list(turn_records.load_turns(session, ref.call_id))


def read_tokens(ref: CallRef) -> tuple[int, int]:
    with tenant_session(ref.tenant, database=app_services().database) as session:
        call = record.get_call(session, ref.call_id)
        return call.tokens, call.output_tokens


def test_the_reply_and_its_tokens_are_stored(ref: CallRef) -> None:
    refused_tools = [{"name": "transfer", "reason": "unknown_target"}]

    sequence = store_reply(
        ref, "At 100 % 'five'.", latency_ms={"total": 12}, refused_tools=refused_tools
    )

    turn = read_turns(ref)[-1]
    assert sequence == turn.sequence == 3
    assert (turn.speaker, turn.text, turn.answers) == ("agent", "At 100 % 'five'.", 2)
    assert (turn.latency_ms, turn.actions) == ({"total": 12}, [])
    assert turn.tokens == {"input": 7, "output": 3}
    assert turn.refused_tools == refused_tools
    assert read_tokens(ref) == (10, 3)


def test_a_reply_without_tokens_and_details_has_the_defaults(ref: CallRef) -> None:
    store_reply(ref, tokens=Tokens())

    turn = read_turns(ref)[-1]
    assert (turn.tokens, turn.refused_tools, turn.latency_ms) == ({}, [], {})
    assert read_tokens(ref) == (0, 0)


def test_a_turn_has_one_reply_and_its_tokens_are_added_once(ref: CallRef) -> None:
    assert store_reply(ref) == 3
    assert store_reply(ref, "At six.") is None

    assert [turn.text for turn in read_turns(ref)] == ["Acme here.", "When?", "At five."]
    assert read_tokens(ref) == (10, 3)


def test_of_concurrent_replies_to_a_turn_one_is_stored(ref: CallRef) -> None:
    sequences = run_concurrently([lambda: store_reply(ref)] * 4)

    assert sorted(sequences, key=str) == [3, None, None, None]
    assert read_tokens(ref) == (10, 3)


def test_a_reply_waits_for_another_one_that_is_being_stored(
    ref: CallRef, database_url: str
) -> None:
    schema = ref.tenant.schema
    sequences: list[int | None] = []
    writer = Thread(target=lambda: sequences.append(store_reply(ref)))
    lock = f"SELECT FROM \"{schema}\".calls WHERE id = '{ref.call_id}' FOR UPDATE"
    with open_transaction(database_url, lock) as connection:
        writer.start()
        wait_for(lambda: waiting_pids(connection))
        with connection.cursor() as cursor:
            cursor.execute(
                f'INSERT INTO "{schema}".turns'
                " (tenant_id, call_id, sequence, speaker, text, started_at, latency_ms, answers)"
                " VALUES (%s, %s, 3, 'agent', 'At six.', now(), '{}', 2)",
                [str(ref.tenant.id), str(ref.call_id)],
            )
        connection.commit()
    writer.join()

    assert sequences == [None]
    assert [turn.text for turn in read_turns(ref)] == ["Acme here.", "When?", "At six."]
    assert read_tokens(ref) == (0, 0)


def test_concurrent_replies_to_silences_are_numbered(ref: CallRef) -> None:
    sequences = run_concurrently([lambda: store_reply(ref, answers=None)] * 4)

    assert sorted(map(str, sequences)) == ["3", "4", "5", "6"]
    assert read_tokens(ref) == (40, 12)


def test_nothing_is_stored_of_a_call_that_has_ended(
    ref: CallRef, acme: Tenant, call_record: CallRecord
) -> None:
    acme.post(f"/calls/{ref.call_id}/hangup")

    assert store_reply(ref) is None

    assert [turn.text for turn in read_turns(ref)] == ["Acme here.", "When?"]
    assert read_tokens(ref) == (0, 0)


def test_nothing_is_stored_of_another_tenants_call(ref: CallRef, globex: Tenant) -> None:
    assert store_reply(CallRef(globex.ref, ref.call_id)) is None

    assert len(read_turns(ref)) == 2
