"""Fixtures for post-call analysis: a call that is not analysed yet, and what models return."""

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.fakes.models import SequenceModel, StepModel
from tests.integration.calls.conftest import CallRecord, use_model
from tests.support import admin_db
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant
from vca.conversation.llm import ModelError, ToolCall
from vca.kit import json
from vca.observability import metrics
from vca.tenant.calls.core.call_types import CallRef

ScriptModel = Callable[..., SequenceModel]
EXTRACT = {
    "type": "object",
    "properties": {"day": {"type": "string"}},
    "required": ["day"],
    "additionalProperties": False,
}
UNAVAILABLE = ModelError("away", failure="unavailable", server_status=503, server_code="busy")
PENDING = {"status": "pending", "reason": None}
DONE = {"status": "done", "reason": None}


def note_call(summary: str = "Asked for a day.", day: str = "Monday") -> ToolCall:
    """Return the tool call with which a model reports its analysis."""
    arguments = {"summary": summary, "outcome": "resolved", "data": {"day": day}}
    return ToolCall("note_call", json.dumps(arguments).decode())


def stored_analysis(record: CallRecord) -> tuple[object, ...]:
    """Return summary, outcome and data of the call."""
    return tuple(record.call[name] for name in ("summary", "outcome", "data"))


def waiting_attempts(tenant: Tenant) -> list[tuple[int, int]]:
    """Return the number of each waiting attempt, and the minutes until it starts."""
    query = (
        "SELECT (args->>'attempt')::int,"
        " round(extract(epoch FROM scheduled_at - now()) / 60)::int"
        " FROM jobs.procrastinate_jobs WHERE status = 'todo' AND task_name = 'calls.analyse'"
        f" AND args->>'tenant_id' = '{tenant.id}' AND args ? 'attempt' ORDER BY id"
    )
    with admin_db.public_session() as session:
        return [(row[0], row[1]) for row in session.execute(text(query))]


@pytest.fixture
def call(carrier_client: CarrierClient, acme: Tenant, call_record: CallRecord) -> CallRef:
    """Return a call that has ended and is not analysed yet."""
    use_model(StepModel("On Monday."))
    acme.profile(greeting="Acme here.", extract=EXTRACT)
    state = carrier_client.ring(acme.number()["did_number"], "call-1")["state"]
    carrier_client.say("call-1", state, "When?")
    assert call_record.call["analysis"] == {"status": "none", "reason": None}
    carrier_client.send_status("call-1", "completed", state=state)
    return CallRef(acme.ref, UUID(call_record.call["id"]))


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the results that are counted, in order."""
    results: list[str] = []
    monkeypatch.setattr(metrics.CALL_ANALYSES, "inc", lambda *, result: results.append(result))
    return results
