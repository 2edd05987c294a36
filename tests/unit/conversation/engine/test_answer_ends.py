"""How an answer ends that the model did not finish, or did not want to give."""

from dataclasses import replace

import pytest

from tests.fakes.models import StepModel
from tests.unit.conversation.engine.engine_calls import PROFILE, generate_reply
from vca.conversation.llm import FinishReason

CUT_OFF = "I am sorry, I have to stop here. What else can I do for you?"
CANNOT_HELP = "I am sorry, I cannot help with that. What else can I do for you?"
REPEAT_REQUEST = "Sorry, I did not catch that. Could you say it again?"


@pytest.mark.parametrize("finish", ["length", "content_filter"])
@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        (["We open at nine. ", "On Sundays we"], "We open at nine."),
        (["We open at nine."], "We open at nine."),
        (["We open at nine. On Sund"], "We open at nine."),
        (["He said “nine.” And th"], "He said “nine.”"),
        (
            ["We are open from nine to five, and on Sund"],
            f"We are open from nine to five, {CUT_OFF}",
        ),
        (
            ["Yes. We are open from nine to five, and on Sund"],
            f"Yes. We are open from nine to five, {CUT_OFF}",
        ),
        (["営業時間は月曜日から金曜日までです。土曜"], "営業時間は月曜日から金曜日までです。"),
    ],
)
def test_a_cut_answer_ends_with_a_complete_sentence(
    finish: FinishReason, chunks: list[str], text: str
) -> None:
    reply = generate_reply("Hi", model=StepModel(*chunks, finish=finish))

    assert (reply.text, reply.actions) == (text, ())


@pytest.mark.parametrize(
    ("finish", "chunks", "text"),
    [
        ("content_filter", [], CANNOT_HELP),
        ("content_filter", ["I thi"], CANNOT_HELP),
        ("refusal", [], CANNOT_HELP),
        ("refusal", ["I'm sorry, I can't help with that"], "I'm sorry, I can't help with that"),
        ("length", [], REPEAT_REQUEST),
        ("length", ["We op"], REPEAT_REQUEST),
        ("length", ["<think>The user wants"], REPEAT_REQUEST),
        ("stop", ["We open at nine"], "We open at nine"),
        ("stop", [], REPEAT_REQUEST),
    ],
)
def test_the_call_goes_on_after_an_answer_without_a_sentence(
    finish: FinishReason, chunks: list[str], text: str
) -> None:
    reply = generate_reply("Hi", model=StepModel(*chunks, finish=finish))

    assert (reply.text, reply.actions) == (text, ())


def test_the_phrases_are_in_the_profiles_language() -> None:
    german = replace(PROFILE, language="de-AT")
    reply = generate_reply("Hallo", model=StepModel(finish="refusal"), profile=german)

    assert reply.text == "Dabei kann ich leider nicht helfen. Was kann ich sonst für Sie tun?"
