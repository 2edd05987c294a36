"""A reply in commands: in their order, nothing before its words, in a voice that exists."""

import pytest

from vca.kit import json
from vca.telephony.providers.telnyx import client_state, command_builder, speech
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.api import ApiClient
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import (
    Action,
    CallReply,
    Forward,
    HangUp,
    Listen,
    Poll,
    Record,
    Reject,
    Say,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

NUMBER = "+14155550123"


def staged(*actions: Action) -> tuple[list[str], list[str]]:
    """What is sent at once, and what waits."""
    now, then = command_builder.drop_empty_speech(
        command_builder.build_plan(CallReply(actions))
    ).split_after_speech()
    return [order["command"] for order in now], [order["command"] for order in then]


@pytest.mark.parametrize(
    ("actions", "now", "then"),
    [
        ((Say("One."), Listen()), ["gather_using_speak"], []),
        ((Listen(),), ["gather"], []),
        ((Say("One."), HangUp()), ["speak"], ["hangup"]),
        ((Say("One."), Say("Two."), HangUp()), ["speak"], ["speak", "hangup"]),
        ((Say("One."), Transfer(NUMBER)), ["speak"], ["stop_transcription", "transfer"]),
        ((Say("One."), TakeVoicemail()), ["speak"], ["start_recording"]),
        (
            (Say("Taped."), Record(), Say("Hi."), Listen()),
            ["speak"],
            ["start_recording", "gather_using_speak"],
        ),
        ((SendKeys("1"), Listen()), ["send_dtmf", "gather"], []),
        ((Say("One."), Poll()), ["speak"], []),
        ((Poll(),), ["gather"], []),
        ((Say("One."),), ["speak"], []),
        ((), [], []),
        ((Say(""), Listen()), ["gather"], []),
        ((Say(" \n"), HangUp()), ["hangup"], []),
        ((Say(""), Poll()), ["gather"], []),
        ((Say(""),), [], []),
    ],
)
def test_what_follows_words_waits_until_they_were_said(
    actions: tuple[Action, ...], now: list[str], then: list[str]
) -> None:
    assert staged(*actions) == (now, then)


@pytest.mark.parametrize(
    ("last", "phase"),
    [
        (Listen(), "listening"),
        (Transfer(NUMBER), "transfer"),
        (Forward(NUMBER), "left"),
        (TakeVoicemail(), "voicemail"),
        (Poll(), "more"),
        (HangUp(), "done"),
        (Reject(), "done"),
        (SendKeys("1"), "done"),
    ],
)
def test_what_a_leg_is_about_is_its_last_command(last: Action, phase: str) -> None:
    assert command_builder.build_plan(CallReply((Say("One."), last))).phase == phase


@pytest.mark.parametrize(("timeout_s", "rings_s"), [(1, 5), (25, 25), (9_000, 600)])
def test_a_target_rings_for_as_long_as_telnyx_lets_it(timeout_s: int, rings_s: int) -> None:
    *_, order = command_builder.build_plan(CallReply((Transfer(NUMBER, timeout_s),))).commands

    assert order["timeout_secs"] == rings_s


def test_an_answer_can_be_read_by_people() -> None:
    adapter = TelnyxAdapter(api_client=ApiClient(""))
    reply = CallReply((Say("Hi.", "en-GB"), Listen(7)), "token")

    rendered = adapter.render(reply, callback_url="https://voice.example.com/telephony/telnyx/")

    assert json.loads(rendered.body) == {
        "commands": [
            {
                "command": "gather_using_speak",
                "payload": "Hi.",
                "payload_type": "text",
                "voice": "AWS.Polly.Amy-Neural",
                "maximum_tries": 1,
                "timeout_millis": 7_000,
                "minimum_digits": 1,
                "maximum_digits": 32,
                "inter_digit_timeout_millis": 2_000,
                "valid_digits": "0123456789*#",
                "terminating_digit": "",
            }
        ],
        "phase": "listening",
        "state": "token",
        "webhook_url": "https://voice.example.com/telephony/telnyx/events",
    }


def test_a_mark_comes_back_as_it_went() -> None:
    rest = tuple(
        command_builder.build_plan(CallReply((Record(), Say("Grüß Gott 🚑"), Listen()))).commands
    )
    mark = LegState("then", "token", "v3:call", NUMBER, "a reference", rest, "listening")

    assert client_state.decode(mark.encode()) == mark


def test_a_mark_of_the_longest_words_is_read_too() -> None:
    words = Say("\u4e2d" * 5_000)
    mark = LegState(
        "then", "t" * 2_000, rest=command_builder.build_plan(CallReply((words, Listen()))).commands
    )

    assert client_state.decode(mark.encode()) == mark


# --- Voices and languages -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "language", "voice"),
    [
        ("AWS.Polly.Joanna-Neural", "de-DE", "AWS.Polly.Joanna-Neural"),
        ("Azure.en-US-Ava:DragonHDLatestNeural", None, "Azure.en-US-Ava:DragonHDLatestNeural"),
        ("Telnyx.KokoroTTS.af", None, "Telnyx.KokoroTTS.af"),
        ("Polly.Joanna-Neural", None, "AWS.Polly.Joanna-Neural"),
        ("amy", "en-GB", "AWS.Polly.Amy-Neural"),
        ("Google.en-US-Chirp3-HD-Aoede", "de-DE", "AWS.Polly.Vicki-Neural"),
        ("Polly.Joanna'; DROP", "fr", "AWS.Polly.Lea-Neural"),
        (None, None, "AWS.Polly.Joanna-Neural"),
        (None, "pt-BR", "AWS.Polly.Camila-Neural"),
        (None, "DE-de", "AWS.Polly.Vicki-Neural"),
        (None, "sw", "Azure.en-US-BrianMultilingualNeural"),
    ],
)
def test_a_voice_is_telnyxs_or_one_that_speaks_the_language(
    name: str | None, language: str | None, voice: str
) -> None:
    assert speech.choose_voice(name, language) == voice


@pytest.mark.parametrize(
    ("language", "heard"),
    [
        (None, "en"),
        ("en-GB", "en"),
        ("de-AT", "de"),
        ("nb-NO", "no"),
        ("he", "iw"),
        ("zh-Hant-TW", "zh"),
        ("tlh", "en"),
    ],
)
def test_a_caller_is_heard_in_a_language_that_recognition_knows(
    language: str | None, heard: str
) -> None:
    assert speech.recognition_language(language) == heard
