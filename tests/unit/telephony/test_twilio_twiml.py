"""Tests of the TwiML for a reply: verbs, attributes and the limits of Twilio."""

from inspect import signature
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from twilio.twiml import lower_camel
from twilio.twiml.voice_response import Connect, ConversationRelay

from tests.contract.suites.telephony import CALLBACK, CALLER, NUMBER, STATE
from tests.fakes.carriers.twilio import twiml
from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN, STATE_SIGNER, callback_url
from tests.support import permits
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.callback_urls import CallbackUrls
from vca.telephony.providers.twilio.settings import TwilioUrls
from vca.telephony.providers.twilio.twiml import MAX_TEXT_CHARS, MAX_UPDATE_CHARS, render
from vca.telephony.turn_settings import SpokenLanguage, TurnSettings
from vca.telephony.types import (
    Action,
    CallReply,
    CarrierEvent,
    HangUp,
    Listen,
    Poll,
    Record,
    Relay,
    Say,
    TakeVoicemail,
)

CALLBACK_URLS = CallbackUrls(CALLBACK, STATE_SIGNER)
ADAPTER = TwilioAdapter((ACCOUNT_LOGIN,), TwilioUrls(CALLBACK), state_signer=STATE_SIGNER)


def _render_and_parse(*actions: Action, **options: Any) -> twiml.TwimlDocument:
    reply = CallReply(actions, STATE)
    return twiml.parse_twiml(render(reply, callback_urls=CALLBACK_URLS, **options).encode())


def test_an_empty_reply_is_an_empty_document() -> None:
    response = ADAPTER.render(CallReply(()), callback_url=CALLBACK)

    assert response.body == b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
    assert response.content_type == "text/xml; charset=utf-8"


def test_barge_in_is_possible_on_all_speech_before_listening() -> None:
    document = _render_and_parse(Say("One."), Say("Two."), Listen(7, "de-CH"))

    gather = document.find("Gather")
    assert document.verbs == ["Gather"]
    assert [say.text for say in gather] == ["One.", "Two."]
    assert gather.get("actionOnEmptyResult") == "true"
    assert gather.get("speechTimeout") == "auto"
    assert (gather.get("timeout"), gather.get("language")) == ("7", "de-DE")


def test_speech_before_other_actions_cannot_be_interrupted() -> None:
    assert _render_and_parse(Say("Bye."), permits.transfer(CALLER)).verbs == ["Say", "Dial"]
    assert _render_and_parse(Say("One."), Record(), Say("Two."), Listen()).verbs == [
        "Say",
        "Start",
        "Gather",
    ]


def test_twilio_listens_for_at_least_one_second() -> None:
    assert _render_and_parse(Listen(0)).find("Gather").get("timeout") == "1"


@pytest.mark.parametrize(
    ("action", "verb", "verb_parameter"),
    [
        (Listen(), "Gather", "gather"),
        (permits.transfer(CALLER), "Dial", "dial"),
        (Poll(), "Redirect", "redirect"),
        (TakeVoicemail(), "Record", "record"),
    ],
)
def test_each_verb_has_a_callback_url_with_its_name_and_the_token(
    action: Action, verb: str, verb_parameter: str
) -> None:
    url = _render_and_parse(action).next_url(verb)

    assert url == callback_url("turn", state=STATE, verb=verb_parameter)
    assert parse_qs(urlsplit(url).query).keys() == {"signature", "state", "verb"}


def test_a_voicemail_without_a_message_continues_the_call() -> None:
    document = _render_and_parse(TakeVoicemail())

    assert document.verbs == ["Record", "Redirect"]
    assert document.next_url("Record") == document.next_url("Redirect")


def test_a_recording_has_both_channels_and_a_status_callback() -> None:
    recording = _render_and_parse(Record(), Say("Hello."), Listen()).find("Recording")

    assert recording.get("channels") == "dual"
    assert recording.get("recordingStatusCallbackEvent") == "completed absent"
    assert recording.get("recordingStatusCallback") == callback_url("recording", state=STATE)


@pytest.mark.parametrize("action", [permits.transfer(CALLER), permits.forward(CALLER)])
def test_the_dialled_party_sees_the_called_number(action: Action) -> None:
    event = CarrierEvent("speech", "CA", NUMBER, caller=None, own_number=NUMBER)  # type: ignore[arg-type]  # is not read

    response = ADAPTER.handle(event, CallReply((action,), STATE), callback_url=CALLBACK)

    assert twiml.parse_twiml(response.body).find("Dial").get("callerId") == NUMBER


@pytest.mark.parametrize("own_number", ["", "sip:x@example.com", '"/><Hangup/>'])
def test_without_a_valid_own_number_there_is_no_caller_id(own_number: str) -> None:
    event = CarrierEvent("leg", "CA", "", caller=None, own_number=own_number)  # type: ignore[arg-type]  # is not read

    response = ADAPTER.handle(event, CallReply((permits.forward(CALLER),)), callback_url=CALLBACK)

    assert twiml.parse_twiml(response.body).find("Dial").get("callerId") is None


# Twilio's values of a language for `<Say>`, with the voice that the table adds, and `<Gather>`.
LANGUAGES = [
    ("de", "de-DE", None, "de-DE"),
    ("de-de", "de-DE", None, "de-DE"),
    ("EN-us", "en-US", None, "en-US"),
    ("ru", "ru-RU", None, "ru-RU"),
    ("zh", "cmn-CN", None, "cmn-Hans-CN"),
    ("zh-Hans-CN", "cmn-CN", None, "cmn-Hans-CN"),
    ("zh-TW", "cmn-TW", None, "cmn-Hant-TW"),
    ("zh-Hant", "cmn-TW", None, "cmn-Hant-TW"),
    ("zh-HK", "zh-HK", None, "yue-Hant-HK"),
    ("ar", "arb", "Polly.Zeina", "ar-SA"),
    ("he", "he-IL", "Google.he-IL-Standard-A", "he-IL"),
    ("iw", "he-IL", "Google.he-IL-Standard-A", "he-IL"),
    ("uk", "uk-UA", "Google.uk-UA-Standard-A", "uk-UA"),
    ("cs", "cs-CZ", "Google.cs-CZ-Standard-A", "cs-CZ"),
    ("vi", "vi-VN", "Google.vi-VN-Standard-A", "vi-VN"),
    ("th", "th-TH", "Google.th-TH-Standard-A", "th-TH"),
    ("el", "el-GR", "Google.el-GR-Standard-A", "el-GR"),
    ("hu", "hu-HU", "Google.hu-HU-Standard-A", "hu-HU"),
    ("ro", "ro-RO", "Google.ro-RO-Standard-A", "ro-RO"),
    ("id", "id-ID", "Google.id-ID-Standard-A", "id-ID"),
    ("no", "nb-NO", None, "nb-NO"),
    ("nn", "nb-NO", None, "nb-NO"),
    ("fil", "fil-PH", "Google.fil-PH-Standard-A", "fil-PH"),
    ("tl", "fil-PH", "Google.fil-PH-Standard-A", "fil-PH"),
    ("bn", "bn-IN", "Google.bn-IN-Standard-A", "bn-IN"),
    ("ta", "ta-IN", "Google.ta-IN-Standard-A", "ta-IN"),
    ("es-419", "es-MX", None, "es-MX"),
    ("es-AR", "es-MX", None, "es-AR"),
    ("pt-AO", "pt-PT", None, "pt-PT"),
    ("de-CH", "de-DE", None, "de-DE"),
    ("en-IE", "en-IE", "Polly.Niamh-Neural", "en-IE"),
    ("cy", "cy-GB", "Polly.Gwyneth", "en-US"),  # Twilio speaks Welsh and does not understand it
    ("tlh", "en-US", None, "en-US"),
    ("nonsense", "en-US", None, "en-US"),
]


@pytest.mark.parametrize(("tag", "say", "voice", "gather"), LANGUAGES)
def test_a_language_is_written_as_twilio_knows_it(
    tag: str, say: str, voice: str | None, gather: str
) -> None:
    document = _render_and_parse(Say("Hello.", tag), Listen(5, tag))

    assert (document.find("Say").get("language"), document.find("Say").get("voice")) == (say, voice)
    assert document.find("Gather").get("language") == gather


@pytest.mark.parametrize(
    ("voice", "tag", "expected"),
    [
        ("Polly.Amy", "en-GB", ("Polly.Amy", "en-GB")),
        ("Polly.Amy", None, ("Polly.Amy", "en-GB")),
        ("polly.joanna-neural", "en-GB", ("Polly.Joanna-Neural", "en-US")),
        ("AWS.Polly.Vicki-Neural", "de-AT", ("Polly.Vicki-Neural", "de-DE")),
        ("Polly.Kajal-Neural", "hi", ("Polly.Kajal-Neural", "hi-IN")),
        ("google.he-il-wavenet-a", "iw", ("Google.he-IL-Wavenet-A", "he-IL")),
        ("Polly.Joanna", "de-DE", (None, "de-DE")),
        ("Polly.Joanna", "uk", ("Google.uk-UA-Standard-A", "uk-UA")),
        ("Polly.Amy", "tlh", ("Polly.Amy", "en-GB")),
        ("nonsense", "en", (None, "en-US")),
        ("alice", "sv", ("alice", "sv-SE")),
    ],
)
def test_a_voice_is_one_of_twilios_and_speaks_the_language(
    voice: str, tag: str | None, expected: tuple[str | None, str]
) -> None:
    say = _render_and_parse(Say("Hello.", tag, voice), HangUp()).find("Say")

    assert (say.get("voice"), say.get("language")) == expected


def test_a_relay_has_two_languages_where_twilios_values_differ() -> None:
    relay = Relay("wss://voice.example.com/relay", "token", "Hi", "zh-TW")

    element = _render_and_parse(relay).find("ConversationRelay")

    assert element.get("language") is None
    assert element.get("ttsLanguage") == "cmn-TW"
    assert element.get("transcriptionLanguage") == "cmn-Hant-TW"


@pytest.mark.parametrize("count", [1, 8, 100])
@pytest.mark.parametrize("text", ["&", "<", "☎", "🚑", "\r", "]]>"])
def test_a_document_is_never_larger_than_twilios_limit(text: str, count: int) -> None:
    say_actions = [Say(text * 5_000) for _ in range(count)]

    reply_document = render(CallReply((*say_actions, Listen()), STATE), callback_urls=CALLBACK_URLS)
    update_document = render(
        CallReply((*say_actions[:8], Listen()), STATE), callback_urls=CALLBACK_URLS, max_size=4_000
    )

    assert len(reply_document.encode()) <= twiml.MAX_BYTES
    assert len(update_document) <= MAX_UPDATE_CHARS
    for document in (reply_document, update_document):
        twiml.parse_twiml(document.encode())


def test_a_call_update_has_room_for_a_text_of_escaped_characters() -> None:
    document = render(
        CallReply((Say("&" * 9_000), Listen()), STATE),
        callback_urls=CALLBACK_URLS,
        max_size=MAX_UPDATE_CHARS,
    )

    assert twiml.parse_twiml(document.encode()).spoken_text == "&" * MAX_TEXT_CHARS


def test_a_text_with_a_cdata_end_is_escaped() -> None:
    text = "&&&&]]>&&&&<Hangup/>&&\r&&"

    assert _render_and_parse(Say(text)).spoken_text == text


def _render_relay(**turn: Any) -> Any:
    relay = Relay(
        "wss://voice.example.com/relay",
        "token",
        language="en",
        voice="Polly.Joanna",
        turn=TurnSettings(**turn),
    )
    return _render_and_parse(relay).find("ConversationRelay")


def test_a_voice_websocket_without_turn_settings_has_twilios_defaults() -> None:
    relay = _render_relay()

    assert dict(relay.items()) == {
        "url": "wss://voice.example.com/relay",
        "language": "en-US",
        "ttsProvider": "Amazon",
        "voice": "Joanna",
        "interruptible": "any",
        "dtmfDetection": "true",
        "applicationReconnect": "true",
    }
    assert [element.tag for element in relay] == ["Parameter"]


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("end_ms", 1200, "speechTimeout", "1200"),
        ("interruptible", "none", "interruptible", "none"),
        ("greeting_interruptible", "dtmf", "welcomeGreetingInterruptible", "dtmf"),
        ("interrupt_sensitivity", "low", "interruptSensitivity", "low"),
        ("ignore_backchannel", True, "ignoreBackchannel", "true"),
        ("ignore_backchannel", False, "ignoreBackchannel", "false"),
        ("turn_detection", True, "turnDetection", "true"),
        ("echo_filter", True, "echoPromptFiltering", "true"),
    ],
)
def test_each_turn_setting_is_an_attribute_of_the_voice_websocket(
    field: str, value: Any, attribute: str, expected: str
) -> None:
    default_attributes = dict(_render_relay().items())

    attributes = dict(_render_relay(**{field: value}).items())

    assert attributes == {**default_attributes, attribute: expected}


def test_a_voice_websocket_with_languages_reports_and_speaks_each_of_them() -> None:
    languages = (SpokenLanguage("en", "Polly.Joanna"), SpokenLanguage("es"))

    relay = _render_relay(languages=languages)

    assert relay.get("transcriptionProvider") == "Deepgram"
    assert relay.get("transcriptionLanguage") == "multi"
    assert [dict(element.items()) for element in relay.iter("Language")] == [
        {"code": "en-US", "ttsProvider": "Amazon", "voice": "Joanna"},
        {"code": "es-ES"},
    ]


@pytest.mark.parametrize(
    "spoken",
    [
        SpokenLanguage("es"),
        SpokenLanguage("es", "Polly.Mia-Neural"),
        SpokenLanguage("en-US", "Polly.Amy"),
        SpokenLanguage("pt-BR", "Polly.Nobody"),
    ],
)
def test_a_language_has_the_same_name_in_the_voice_websocket_and_in_its_frames(
    spoken: SpokenLanguage,
) -> None:
    [element] = _render_relay(languages=(spoken,)).iter("Language")

    assert ADAPTER.websocket_language(spoken) == element.get("code")


def test_languages_with_the_same_name_at_twilio_are_one_with_the_first_voice() -> None:
    languages = (SpokenLanguage("es-AR", "Polly.Mia-Neural"), SpokenLanguage("es-BO"))

    [element] = _render_relay(languages=languages).iter("Language")

    assert (element.get("code"), element.get("voice")) == ("es-MX", "Mia-Neural")


def test_every_attribute_of_the_voice_websocket_is_known_to_twilios_sdk() -> None:
    parameters = set(signature(Connect.conversation_relay).parameters)
    known_attributes = {lower_camel(name) for name in parameters}
    languages = (SpokenLanguage("en", "Polly.Joanna"),)

    relay = _render_relay(
        end_ms=900,
        interruptible="speech",
        greeting_interruptible="none",
        interrupt_sensitivity="high",
        ignore_backchannel=True,
        turn_detection=True,
        echo_filter=True,
        languages=languages,
    )

    assert set(relay.keys()) <= known_attributes
    [language] = relay.iter("Language")
    assert set(language.keys()) <= {
        lower_camel(name) for name in signature(ConversationRelay.language).parameters
    }
