"""What ends a call: an end phrase, silence, and the limits of turns, duration and tokens."""

from dataclasses import replace

import pytest

from tests.fakes.models import StepModel
from tests.unit.conversation.engine.engine_calls import PROFILE, generate_reply
from vca.conversation import localised_phrases
from vca.conversation.transcript import Turn
from vca.conversation.types import HangUp, Limits, Reply


def caller_turns(number: int) -> list[Turn]:
    return [turn for i in range(number) for turn in (Turn("caller", f"{i}"), Turn("agent", "Yes."))]


@pytest.mark.parametrize(
    "utterance", ["Goodbye!", "ok, THAT’S ALL then", "well... good-bye? goodbye"]
)
def test_an_end_phrase_ends_the_call_politely_without_the_model(utterance: str) -> None:
    model = StepModel("Yes.")

    reply = generate_reply(utterance, model=model)

    assert reply == Reply("Thank you for calling. Goodbye.", (HangUp("agent_hangup"),))
    assert reply.actions[0].kind == "hang_up"
    assert model.requests == []


@pytest.mark.parametrize(("earlier", "ended"), [(0, False), (2, False), (3, True), (4, True)])
def test_the_call_ends_after_the_maximum_number_of_turns(earlier: int, ended: bool) -> None:
    reply = generate_reply(
        "And now?", Turn("agent", "Hello."), *caller_turns(earlier), model=StepModel("Yes.")
    )

    assert reply.actions == ((HangUp("max_turns"),) if ended else ())
    assert reply.text.endswith("Goodbye." if ended else "Yes.")


@pytest.mark.parametrize(
    ("after_s", "ended"), [(0, False), (599.9, False), (600, True), (9e6, True)]
)
def test_the_call_ends_at_its_maximum_duration(after_s: float, ended: bool) -> None:
    reply = generate_reply("And now?", model=StepModel("Yes."), after_s=after_s)

    assert reply.actions == ((HangUp("max_duration"),) if ended else ())


def test_an_end_phrase_takes_precedence_over_the_maximum_duration() -> None:
    reply = generate_reply("goodbye", *caller_turns(9), model=StepModel("Yes."), after_s=9e6)

    assert reply.actions == (HangUp("agent_hangup"),)


def test_the_goodbye_is_in_the_profiles_language() -> None:
    german = replace(PROFILE, language="de-AT", end_phrases=("tschüss",))
    unknown = replace(PROFILE, language="tlh", end_phrases=("qapla",))

    assert generate_reply("Tschüss!", model=StepModel(), profile=german).text.endswith(
        "Auf Wiederhören."
    )
    assert generate_reply("Qapla'", model=StepModel(), profile=unknown).text.endswith("Goodbye.")


def test_the_second_silence_in_a_row_ends_the_call() -> None:
    turns = [Turn("agent", "Hello.")]
    first = generate_reply("", *turns, model=StepModel())
    second = generate_reply(" ", *turns, Turn("agent", first.text), model=StepModel())

    assert first == Reply("Sorry, I did not catch that. Could you say it again?")
    assert second.actions == (HangUp("silence"),)
    assert second.text.endswith("Goodbye.")


def test_a_silence_after_an_utterance_does_not_end_the_call() -> None:
    repeat_request = localised_phrases.phrase("again", "en")
    turns = [Turn("agent", "Hello."), Turn("agent", repeat_request), Turn("caller", "Hi")]

    assert generate_reply("", *turns, Turn("agent", "Yes?"), model=StepModel()).actions == ()
    assert (
        generate_reply("", *turns, Turn("agent", repeat_request), model=StepModel()).actions == ()
    )
    assert generate_reply("Hi", *turns[:2], model=StepModel("Yes.")).text == "Yes."


def test_only_a_request_to_repeat_counts_as_a_silence() -> None:
    turns = [Turn("agent", "Hello."), Turn("agent", "The line was busy.")]

    assert generate_reply("", *turns, model=StepModel()).actions == ()
    turns_with_silence = [
        *turns,
        Turn("agent", localised_phrases.phrase("again", "en")),
        Turn("agent", "Still busy."),
    ]
    assert generate_reply("", *turns_with_silence, model=StepModel()).actions == (
        HangUp("silence"),
    )


@pytest.mark.parametrize(
    ("limit", "used_tokens", "ended"), [(None, 10**9, False), (100, 99, False), (100, 100, True)]
)
def test_the_call_ends_at_its_token_limit(limit: int | None, used_tokens: int, ended: bool) -> None:
    model = StepModel("Yes.")

    reply = generate_reply("Hi", model=model, limits=Limits(tokens=limit), tokens_spent=used_tokens)

    assert reply.actions == ((HangUp("token_limit"),) if ended else ())
    assert len(model.requests) == (0 if ended else 1)


def test_an_end_phrase_within_a_sentence_is_left_to_the_model() -> None:
    model = StepModel("G, O, O, D, B, Y, E.")

    reply = generate_reply("How do I spell goodbye?", model=model)

    assert reply.text == "G, O, O, D, B, Y, E."
    assert reply.actions == ()
    assert len(model.requests) == 1
