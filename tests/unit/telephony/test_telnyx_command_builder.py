"""Tests of Telnyx commands for a reply: order, deferred commands, voices and languages."""

from typing import get_args

import pytest
from telnyx.types.calls import ActionStartConversationRelayParams
from telnyx.types.calls.google_transcription_language import GoogleTranscriptionLanguage

from tests.fakes.carriers.telnyx.accounts import STATE_SIGNER
from tests.support import permits
from vca.kit import json
from vca.telephony.providers.telnyx import client_state, command_builder, languages
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.api import ApiClient
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.turn_settings import TurnSettings
from vca.telephony.types import (
    Action,
    CallReply,
    HangUp,
    Listen,
    Poll,
    Record,
    Reject,
    Relay,
    Say,
    SendKeys,
    TakeVoicemail,
)

NUMBER = "+14155550123"


def split_commands(*actions: Action) -> tuple[list[str], list[str]]:
    """Return the names of the immediate commands and of those that wait for the end of speech."""
    immediate, deferred = command_builder.drop_empty_speech(
        command_builder.build_plan(CallReply(actions))
    ).split_after_speech()
    return (
        [command["command"] for command in immediate],
        [command["command"] for command in deferred],
    )


@pytest.mark.parametrize(
    ("actions", "immediate", "deferred"),
    [
        ((Say("One."), Listen()), ["gather_using_speak"], []),
        ((Listen(),), ["gather"], []),
        ((Say("One."), HangUp()), ["speak"], ["hangup"]),
        ((Say("One."), Say("Two."), HangUp()), ["speak"], ["speak", "hangup"]),
        ((Say("One."), permits.transfer(NUMBER)), ["speak"], ["stop_transcription", "transfer"]),
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
def test_commands_after_speech_wait_for_its_end(
    actions: tuple[Action, ...], immediate: list[str], deferred: list[str]
) -> None:
    assert split_commands(*actions) == (immediate, deferred)


@pytest.mark.parametrize(
    ("last_action", "phase"),
    [
        (Listen(), "listening"),
        (permits.transfer(NUMBER), "transfer"),
        (permits.forward(NUMBER), "left"),
        (TakeVoicemail(), "voicemail"),
        (Poll(), "more"),
        (HangUp(), "done"),
        (Reject(), "done"),
        (SendKeys("1"), "done"),
    ],
)
def test_the_last_action_determines_the_phase_of_the_leg(last_action: Action, phase: str) -> None:
    assert command_builder.build_plan(CallReply((Say("One."), last_action))).phase == phase


@pytest.mark.parametrize(("timeout_s", "ring_time_s"), [(1, 5), (25, 25), (9_000, 600)])
def test_the_ring_time_of_a_target_is_within_telnyxs_limits(
    timeout_s: int, ring_time_s: int
) -> None:
    *_, command = command_builder.build_plan(
        CallReply((permits.transfer(NUMBER, timeout_s),))
    ).commands

    assert command["timeout_secs"] == ring_time_s


def test_a_reply_is_rendered_as_readable_json() -> None:
    adapter = TelnyxAdapter(api_client=ApiClient(""), state_signer=STATE_SIGNER)
    reply = CallReply((Say("Hi.", "en-GB"), Listen(7)), "token")

    response = adapter.render(reply, callback_url="https://voice.example.com/telephony/telnyx/")

    assert json.loads(response.body) == {
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


def test_a_leg_state_is_decoded_as_it_was_encoded() -> None:
    commands = tuple(
        command_builder.build_plan(CallReply((Record(), Say("Grüß Gott 🚑"), Listen()))).commands
    )
    leg_state = LegState("then", "token", "v3:call", NUMBER, "a reference", commands, "listening")

    assert client_state.decode_signed(leg_state.encode(STATE_SIGNER), STATE_SIGNER) == leg_state


def test_a_leg_state_with_the_longest_text_is_decoded() -> None:
    say = Say("\u4e2d" * 5_000)
    leg_state = LegState(
        "then", "t" * 2_000, rest=command_builder.build_plan(CallReply((say, Listen()))).commands
    )

    assert client_state.decode_signed(leg_state.encode(STATE_SIGNER), STATE_SIGNER) == leg_state


# --- Voices and languages -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "language", "voice"),
    [
        ("AWS.Polly.Joanna-Neural", "de-DE", "AWS.Polly.Vicki-Neural"),
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
def test_a_voice_is_supported_by_telnyx_and_speaks_the_language(
    name: str | None, language: str | None, voice: str
) -> None:
    assert languages.choose_voice(name, language) == voice


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (None, "en"),
        ("en-GB", "en"),
        ("de-AT", "de"),
        ("nb-NO", "no"),
        ("he", "iw"),
        ("zh-Hant-TW", "zh"),
        ("zh-HK", "yue"),
        ("tlh", "en"),
    ],
)
def test_the_recognition_language_is_supported(language: str | None, expected: str) -> None:
    assert languages.recognition_language(language) == expected


def test_the_recognition_languages_are_those_of_the_sdk() -> None:
    assert languages.TABLE.recognition.values == set(get_args(GoogleTranscriptionLanguage))


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (None, "en"),
        ("de-AT", "de-AT"),
        ("de-LI", "de"),
        ("EN-us", "en-US"),
        ("iw", "he"),
        ("no", "nb"),
        ("zh-Hant-TW", "zh-TW"),
        ("es-419", "es-MX"),
        ("cy", "en"),
        ("nonsense", "en"),
    ],
)
def test_the_relay_language_is_supported(language: str | None, expected: str) -> None:
    assert languages.relay_language(language) == expected


@pytest.mark.parametrize(
    ("name", "language", "is_known"),
    [
        ("AWS.Polly.Joanna-Neural", "en", True),
        ("Polly.Joanna", "en-GB", True),
        ("AWS.Polly.Nobody", "en", False),
        ("AWS.Polly.Joanna-Generative", "en", False),
        ("Azure.de-DE-KatjaNeural", "de-AT", True),
        ("Azure.de-DE-KatjaNeural", "fr", False),
        ("Azure.en-US-BrianMultilingualNeural", "fr", True),
        ("Azure.nonsense", "en", False),
        ("ElevenLabs.eleven_multilingual_v2.21m00Tcm4TlvDq8ikWAM", "it", True),
        ("Telnyx.NaturalHD.astra", "en", True),
        ("Minimax.speech-02-hd.Wise_Woman", "ko", True),
        ("Inworld.Huge.Loretta", "en", False),
        ("xAI.eve", "en", True),
        ("xAI.adam", "en", False),
        ("Humain.sara-ar", "ar-SA", True),
        ("Humain.sara-ar", "en", False),
        ("Google.en-US-Standard-A", "en", False),
        ("nonsense", "en", False),
        ("Telnyx.", "en", False),
    ],
)
def test_a_voice_is_known_by_its_provider(name: str, language: str, is_known: bool) -> None:
    assert languages.TABLE.has_voice(name, language) is is_known


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (TurnSettings(), {"interruptible": "any"}),
        (TurnSettings(interruptible="speech"), {"interruptible": "speech"}),
        (
            TurnSettings(greeting_interruptible="none"),
            {"interruptible": "any", "interruptible_greeting": "none"},
        ),
    ],
)
def test_a_voice_websocket_has_the_interruptions_of_the_turn_settings(
    turn: TurnSettings, expected: dict[str, str]
) -> None:
    relay = Relay("wss://voice.example.com/relay", "token", turn=turn)

    [command] = command_builder.build_plan(CallReply((relay,))).commands

    assert {name: command[name] for name in command if "interruptible" in name} == expected
    known_parameters = set(ActionStartConversationRelayParams.__annotations__)
    assert set(command) - {"command"} <= known_parameters
