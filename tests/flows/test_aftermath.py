"""After the call: what a model notes of it, in a job."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest
from flask import Flask

from tests.doubles.models import Parrot, Rehearsed
from tests.flows.conftest import Record, use
from tests.support.carrier_line import CarrierLine
from tests.support.world import Tenant, World
from vca.conversation.llm import ModelError, ToolCall
from vca.conversation.llm.models import Models
from vca.devtools.scripted_model.model import ScriptedModel
from vca.kit import json
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.turns import post_call_analysis

Says = Callable[..., Rehearsed]
EXTRACT = {
    "type": "object",
    "properties": {"day": {"type": "string"}},
    "required": ["day"],
    "additionalProperties": False,
}


def _note(summary: str, day: str) -> ToolCall:
    noted = {"summary": summary, "outcome": "resolved", "data": {"day": day}}
    return ToolCall("note_call", json.dumps(noted).decode())


@pytest.fixture
def call(line: CarrierLine, acme: Tenant, record: Record) -> CallRef:
    """A call that has ended, and that nobody has noted."""
    use(Parrot("On Monday."))
    acme.profile(greeting="Acme here.", extract=EXTRACT)
    state = line.ring(acme.number()["did_number"], "call-1")["state"]
    line.say("call-1", state, "When?")
    line.status("call-1", "completed", state=state)
    return CallRef(acme.ref, UUID(record.call["id"]))


def _noted(record: Record) -> tuple[object, ...]:
    return tuple(record.call[name] for name in ("summary", "outcome", "data"))


def test_a_job_notes_what_a_call_was_about(
    record: Record, world: World, says: Says, call: CallRef
) -> None:
    model = says([_note("Asked for a day.", "Monday")])

    done = world.work(record.tenant)

    assert "calls.analyse" in done
    assert _noted(record) == ("Asked for a day.", "resolved", {"day": "Monday"})
    assert "Caller: When?" in model.asked[0].messages[0].text


def test_a_call_may_be_noted_again(record: Record, world: World, says: Says, call: CallRef) -> None:
    says([_note("First.", "Monday")], [_note("Second.", "Tuesday")])
    world.work(record.tenant)

    post_call_analysis.analyse_call(call)

    assert _noted(record) == ("Second.", "resolved", {"day": "Tuesday"})


def test_where_only_the_script_answers_nothing_is_noted(
    app: Flask, record: Record, world: World, call: CallRef
) -> None:
    call_services.set_current_services(
        replace(call_services.current_services(), models=Models(ScriptedModel()))
    )

    world.work(record.tenant)

    assert _noted(record) == (None, None, None)


def test_a_model_that_is_away_is_asked_again_by_the_job(
    record: Record, world: World, says: Says, call: CallRef
) -> None:
    says([ModelError("away", failure="unavailable")], [_note("At last.", "Monday")])

    with pytest.raises(ModelError):
        post_call_analysis.analyse_call(call)
    assert _noted(record) == (None, None, None)
    world.work(record.tenant)

    assert _noted(record)[0] == "At last."


def test_what_another_try_cannot_mend_leaves_the_call_as_it_is(
    record: Record, world: World, says: Says, call: CallRef
) -> None:
    says([ModelError("no", failure="refused", permanent=True)])

    world.work(record.tenant)

    assert _noted(record) == (None, None, None)
    assert record.end == ("completed", "caller_hangup")


def test_a_call_that_goes_on_is_not_noted(
    line: CarrierLine, acme: Tenant, record: Record, says: Says
) -> None:
    model = says([_note("Too early.", "Monday")])
    acme.profile()
    line.ring(acme.number()["did_number"], "call-1")

    post_call_analysis.analyse_call(CallRef(acme.ref, UUID(record.call["id"])))

    assert model.asked == []
    assert record.call["summary"] is None


def test_a_call_in_which_nothing_was_said_needs_no_model(
    line: CarrierLine, acme: Tenant, record: Record, world: World, says: Says
) -> None:
    model = says([_note("Never.", "Monday")])
    acme.profile()
    state = line.ring(acme.number()["did_number"], "call-1")["state"]
    line.status("call-1", "completed", state=state)

    world.work(acme)

    assert model.asked == []
    assert record.call["outcome"] == "no_conversation"
