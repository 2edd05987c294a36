"""The analysis of a finished call by the scripted model."""

from dataclasses import replace
from typing import Any

import pytest

from vca.conversation import analysis
from vca.conversation.analysis import Analysis
from vca.conversation.llm.models import Models
from vca.conversation.transcript import Turn
from vca.conversation.types import Profile
from vca.devtools.scripted_model.model import ScriptedModel

PROFILE = Profile("Ada", "receptionist", "We are Acme.", language="de")
EXTRACT = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "floor": {"$ref": "#/$defs/floor"}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"floor": {"type": "integer"}},
}


def analyse_with_script(*lines: str, extract: Any = None, **profile_fields: Any) -> Analysis:
    turns = [Turn("agent", "Hello.")]
    for line in lines:
        turns += [Turn("caller", line), Turn("agent", "I see.")]
    profile = replace(PROFILE, **profile_fields)
    run = analysis.analyse_call(profile, turns, models=Models(ScriptedModel()), extract=extract)
    assert run.tokens.total > 0
    assert run.analysis is not None
    return run.analysis


def test_the_scripted_model_summarises_the_reason_and_the_name() -> None:
    result = analyse_with_script("My boiler is broken.", "Ada Lovelace", "yes")

    assert "your boiler is broken" in result.summary
    assert "Ada Lovelace" in result.summary
    assert result.outcome == "resolved"
    assert result.data is None


@pytest.mark.parametrize(
    ("lines", "tools", "outcome"),
    [
        (("Hello",), (), "no_conversation"),
        (("My boiler is broken.",), (), "unresolved"),
        (("My boiler is broken.", "Ada", "yes"), (), "resolved"),
        (("My boiler is broken.", "Ada", "yes"), ("take_message",), "message_taken"),
    ],
)
def test_the_scripted_model_determines_the_outcome(
    lines: tuple[str, ...], tools: tuple[str, ...], outcome: str
) -> None:
    assert analyse_with_script(*lines, tools=tools).outcome == outcome


@pytest.mark.parametrize(
    ("extract", "data"),
    [
        (None, None),
        ({"type": "object"}, {}),
        ({"type": "object", "properties": {"name": {"type": "string"}}}, {"name": "Ada"}),
        (
            {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["floor"]},
            None,
        ),
        ({"type": "object", "properties": {"name": {"type": "integer"}}}, {}),
        (
            {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": 1}},
                "required": ["name"],
            },
            None,
        ),
        (EXTRACT, {"name": "Ada"}),
    ],
)
def test_the_scripted_model_extracts_only_stated_data(extract: Any, data: Any) -> None:
    assert analyse_with_script("My boiler is broken.", "Ada", "yes", extract=extract).data == data
