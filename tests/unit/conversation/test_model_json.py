"""JSON objects in the text of a model."""

from typing import Any

import pytest

from vca.conversation import model_json

NOTE = '{"summary": "A boiler is broken.", "outcome": "unresolved"}'
FIELDS = {"summary": "A boiler is broken.", "outcome": "unresolved"}
DRAFT = '{"summary": "Draft.", "outcome": "resolved"}'
ENCODED_NOTE = NOTE.replace('"', '\\"')


def find_objects(text: str) -> list[dict[str, Any]]:
    return model_json.find_objects(text, members=("summary", "outcome"))


@pytest.mark.parametrize(
    "text",
    [
        NOTE,
        f"\ufeff \n{NOTE}\n",
        f"```json\n{NOTE}\n```",
        f"```\n{NOTE}```",
        f"~~~JSON\n{NOTE}\n~~~",
        f"```json\n{NOTE}",
        f"Here is the note of the call:\n\n{NOTE}\n\nAnything else?",
        f"The caller {{angry}} said [sic] so: {NOTE}",
        f'The answer is "{NOTE}".',
        f"'{NOTE}'",
        f'"{ENCODED_NOTE}"',
        f'"```json\\n{ENCODED_NOTE}\\n```"',
        f'{{"name": "note_call", "arguments": {NOTE}}}',
        f'{{"name": "note_call", "parameters": "{ENCODED_NOTE}"}}',
        f'{{"note_call": {NOTE}}}',
        f'[{{"name": "note_call", "arguments": {NOTE}}}]',
        f'{{"tool_calls": [{{"function": {{"name": "n", "arguments": "{ENCODED_NOTE}"}}}}]}}',
        f"<tool_call>\n{NOTE}\n</tool_call>",
        f"[TOOL_CALLS]note_call[ARGS]{NOTE}",
        f"note_call({NOTE})",
        f"<think>The user wants JSON.</think>{NOTE}",
        f"<think>Perhaps {DRAFT}?</think>\n{NOTE}",
        f"Perhaps {DRAFT}?\n</think>\n{NOTE}",
        f"[THINK]{DRAFT}[/THINK]{NOTE}",
        f"◁think▷{DRAFT}◁/think▷{NOTE}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>"
        f"{NOTE}<|return|>",
        f"<analysis>{NOTE}</analysis>",
        f"<think>{NOTE}",
    ],
)
def test_an_object_is_read_from_any_surrounding_text(text: str) -> None:
    assert find_objects(text)[0] == FIELDS


def test_the_last_object_comes_first() -> None:
    objects = find_objects(f"First I thought {DRAFT}, but it is {NOTE}")

    assert [item["outcome"] for item in objects] == ["unresolved", "resolved"]


def test_a_rejected_draft_in_reasoning_does_not_replace_the_answer() -> None:
    assert find_objects(f'<think>{DRAFT}</think>{{"outcome": "happy"}}') == [{"outcome": "happy"}]


def test_an_object_inside_another_match_is_not_a_match() -> None:
    text = f'{{"summary": "A.", "outcome": "happy", "data": {NOTE}}}'

    assert len(find_objects(text)) == 1


def test_the_end_of_reasoning_inside_a_string_is_text() -> None:
    text = '{"summary": "They said </think> twice.", "outcome": "resolved"}'

    assert find_objects(text)[0]["summary"] == "They said </think> twice."


def test_members_are_compared_without_regard_to_case() -> None:
    assert find_objects('{"Summary": "A."}') == [{"Summary": "A."}]


@pytest.mark.parametrize(
    "text", ["", "No.", "{", NOTE[:-1], "null", "[1, 2]", '{"name": "x"}', "{'summary': 'x'}"]
)
def test_text_without_such_an_object_has_none(text: str) -> None:
    assert find_objects(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "[" * 60_000,
        '{"a":' * 12_000,
        "{" * 60_000,
        '{"' * 30_000,
        '"[' * 30_000,
        '"{\\"' * 15_000,
        '{"summary": 1} ' * 4_000,
        "</think" * 8_000,
        "</think " + " " * 50_000,
    ],
)
def test_hostile_text_is_read_to_its_end(text: str) -> None:
    """A quadratic search would take minutes for these texts."""
    assert len(find_objects(text)) <= 20
