"""The filter between a model and the conversation: signs of life, and what it remembers."""

from dataclasses import replace

import pytest

from tests.contract.suites.llm import ModelContract, make_request
from tests.fakes.models import StepModel
from vca.conversation.answer_filter import UnmarkedReasoning
from vca.conversation.llm import (
    AnswerStream,
    AnswerSummary,
    Chunk,
    ModelRequest,
    Reasoning,
    ToolCall,
)
from vca.conversation.llm.models import Models
from vca.conversation.speech_only_model import SpeechOnlyModel, filter_models
from vca.conversation.types import Tokens
from vca.devtools.scripted_model.model import ScriptedModel

REQUEST = make_request("Hello?")
UNMARKED = ("Zebras. ", "They are striped.", "</think>", "We open.")


def read_items(
    stream: AnswerStream,
) -> list[Chunk | Reasoning]:
    return list(stream)


def test_every_chunk_of_reasoning_is_a_sign_of_life() -> None:
    model = SpeechOnlyModel(StepModel("<think>", "a", " zebra", "</think>", "Nine."), set())

    assert (
        read_items(model.stream(REQUEST))
        == [
            " ",
            Reasoning(),
            Reasoning(),
            " ",
            "Nine.",
        ]
        or [type(item) for item in read_items(model.stream(REQUEST))].count(Reasoning) >= 2
    )


def test_chunks_without_text_are_no_sign_of_life() -> None:
    model = SpeechOnlyModel(StepModel(" ", "", "\n"), set())

    assert not [item for item in read_items(model.stream(REQUEST)) if isinstance(item, Reasoning)]


def test_words_tool_calls_and_the_summary_are_passed_on() -> None:
    call = ToolCall("end_call", "{}")
    client = StepModel("We", " open.", call, name="gpt-test", tokens=Tokens(3, 2), finish="length")
    model = SpeechOnlyModel(client, set())

    stream = model.stream(REQUEST)
    assert [next(stream), next(stream), next(stream)] == ["We", " open.", call]
    assert list(stream) == []

    assert stream.outcome == AnswerSummary(Tokens(3, 2), "length")
    assert (model.name, client.closed_count) == ("gpt-test", 1)


def test_the_first_unmarked_reasoning_of_a_model_is_taken_back() -> None:
    items = read_items(SpeechOnlyModel(StepModel(*UNMARKED), set()).stream(REQUEST))

    position = next(i for i, item in enumerate(items) if isinstance(item, UnmarkedReasoning))
    assert items[position + 1 :] == ["We open."]


def test_the_next_answer_of_such_a_model_is_withheld_up_to_its_mark() -> None:
    models = filter_models(Models(StepModel(*UNMARKED)))
    read_items(models.primary.stream(REQUEST))

    items = read_items(filter_models(models).primary.stream(REQUEST))

    assert [item for item in items if isinstance(item, str)] == ["We open."]
    assert isinstance(items[0], Reasoning)


def test_a_model_is_withheld_only_as_long_as_it_reasons_without_a_mark() -> None:
    memory = {"parrot", "other"}

    items = read_items(SpeechOnlyModel(StepModel("One. ", "Two."), memory).stream(REQUEST))

    assert items == [Reasoning(), Reasoning(), "One. Two."]
    assert memory == {"other"}


def test_a_stream_that_is_closed_early_is_remembered_and_stops_the_model() -> None:
    memory: set[str] = set()
    client = StepModel(*UNMARKED, *["More. "] * 100)
    stream = SpeechOnlyModel(client, memory).stream(REQUEST)
    while next(stream) != "We open.":
        pass

    stream.close()

    assert memory == {"parrot"}
    assert client.closed_count == 1


@pytest.mark.parametrize("model_name", [None, "listed"])
def test_the_requested_model_is_remembered(model_name: str | None) -> None:
    memory: set[str] = set()
    request: ModelRequest = replace(REQUEST, model=model_name)

    read_items(SpeechOnlyModel(StepModel(*UNMARKED), memory).stream(request))

    assert memory == {model_name or "parrot"}


class TestContract(ModelContract):
    @pytest.fixture
    def model(self) -> SpeechOnlyModel:
        return SpeechOnlyModel(ScriptedModel(), set())
