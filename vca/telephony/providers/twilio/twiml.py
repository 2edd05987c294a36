"""Render replies as TwiML that always parses and always fits.

Written by hand rather than with the SDK, which checks no attributes, knows no limits, and takes
twice as long while a caller waits.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from vca.kit.text import sanitize
from vca.telephony.providers.twilio import languages
from vca.telephony.providers.twilio.callback_urls import CallbackUrls
from vca.telephony.turn_settings import SpokenLanguage
from vca.telephony.types import (
    Action,
    CallReply,
    Forward,
    HangUp,
    Listen,
    Poll,
    Record,
    Reject,
    Relay,
    Say,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

# The limit of the strictest voice (error 13521).
MAX_TEXT_CHARS = 3_000
# The limit of a response to a webhook in bytes (error 11750), and of a document that we send with a
# REST request in characters (error 32018).
MAX_DOCUMENT_BYTES, MAX_UPDATE_CHARS = 64_000, 4_000
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
# An XML parser reads a bare CR as LF.
_CR = {"\r": "&#13;"}
_VOICEMAIL_SILENCE_S = 10


@dataclass(frozen=True)
class _RenderContext:
    """The callback URLs and state of the next request, and the caller id for dialling."""

    callback_urls: CallbackUrls
    state: str | None
    caller_id: str | None

    def turn_url(self, verb: str) -> str:
        """Return the URL to request when this verb has ended."""
        return self.callback_urls.build("turn", state=self.state, verb=verb)


def render(
    reply: CallReply,
    *,
    callback_urls: CallbackUrls,
    caller_id: str | None = None,
    max_size: int = MAX_DOCUMENT_BYTES,
) -> str:
    """Return the document of a reply, of at most `max_size` bytes. Cut texts that are too long."""
    context = _RenderContext(callback_urls, reply.state, caller_id)
    max_text_chars = MAX_TEXT_CHARS
    document = _document(reply, context, max_text_chars)
    while len(document.encode()) > max_size and max_text_chars:
        max_text_chars = max_text_chars * 3 // 4
        document = _document(reply, context, max_text_chars)
    return document


def _document(reply: CallReply, context: _RenderContext, max_text_chars: int) -> str:
    verbs: list[str] = []
    say_elements: list[str] = []
    for action in reply.actions:
        if isinstance(action, Say):
            say_elements.append(_say(action, max_text_chars))
            continue
        if isinstance(action, Listen):  # around the text, so that the caller can barge in
            verbs.append(_gather(action, context, "".join(say_elements)))
        else:
            verbs += [*say_elements, _VERBS[type(action)](action, context)]
        say_elements.clear()
    body = "".join([*verbs, *say_elements])
    return f"{_HEAD}<Response>{body}</Response>" if body else f"{_HEAD}<Response/>"


def _say(action: Say, max_text_chars: int) -> str:
    xml_text = _xml_text(sanitize(action.text, max_length=max_text_chars))
    if action.language is None and action.voice is None:
        return _element("Say", xml_text)  # Twilio's default is English
    language, voice = languages.choose_speech(action.voice, action.language)
    return _element("Say", xml_text, language=language, voice=voice and voice.name)


def _gather(action: Listen, context: _RenderContext, prompt_xml: str) -> str:
    return _element(
        "Gather",
        prompt_xml,
        input="speech dtmf",
        action=context.turn_url("gather"),
        actionOnEmptyResult="true",
        timeout=max(1, action.silence_s),
        speechTimeout="auto",
        language=_gather_language(action.language),
    )


def _gather_language(language: str | None) -> str | None:
    """Return Twilio's value of the language; None selects Twilio's default, English."""
    return None if language is None else languages.TABLE.recognition.choose(language)


def _relay(action: Relay, context: _RenderContext) -> str:
    """Return the verb that connects the voice WebSocket.

    The attributes are those of Twilio's reference and of its SDK. A dropped WebSocket is opened
    again (`applicationReconnect`).
    """
    turn = action.turn
    token = f'<Parameter name="token" value={quoteattr(sanitize(action.token))}/>'
    relay = _element(
        "ConversationRelay",
        f"{_relay_language_elements(turn.languages)}{token}",
        url=action.url,
        welcomeGreeting=sanitize(action.greeting, max_length=MAX_TEXT_CHARS) or None,
        welcomeGreetingInterruptible=turn.greeting_interruptible,
        **_relay_languages(action),
        **_relay_voice(action.voice, action.language),
        interruptible=turn.interruptible or "any",
        interruptSensitivity=turn.interrupt_sensitivity,
        ignoreBackchannel=_boolean(turn.ignore_backchannel),
        turnDetection=_boolean(turn.turn_detection),
        echoPromptFiltering=_boolean(turn.echo_filter),
        speechTimeout=turn.end_ms,
        dtmfDetection="true",
        applicationReconnect="true",
    )
    return _element("Connect", relay, action=context.turn_url("connect"))


def _relay_languages(action: Relay) -> dict[str, str]:
    """Return the language, or one for each direction if Twilio's values for them differ.

    Twilio reports the language of each utterance with Deepgram only (changelog of 7 October 2025).
    """
    spoken, _ = languages.choose_speech(action.voice, action.language)
    if action.turn.languages:
        return {
            "language": spoken,
            "transcriptionProvider": "Deepgram",
            "transcriptionLanguage": "multi",
        }
    recognition_language = languages.TABLE.recognition.choose(action.language)
    if spoken == recognition_language:
        return {"language": spoken}
    return {"ttsLanguage": spoken, "transcriptionLanguage": recognition_language}


def _relay_language_elements(allowed: Iterable[SpokenLanguage]) -> str:
    """Return an element with the voice of each language that the call may change to.

    Of languages with the same name at Twilio, only the first one has an element.
    """
    elements: dict[str, str] = {}
    for spoken in allowed:
        code, _ = languages.choose_speech(spoken.voice, spoken.language)
        voice = _relay_voice(spoken.voice, spoken.language)
        elements.setdefault(code, _element("Language", code=code, **voice))
    return "".join(elements.values())


def _relay_voice(name: str | None, language: str | None) -> dict[str, str]:
    """Return the attributes of a voice, none if Twilio selects one for the language.

    ConversationRelay needs the provider of a voice.
    """
    voice = languages.choose_relay_voice(name, language)
    return {} if voice is None else {"ttsProvider": voice.provider, "voice": voice.name}


def _forward(action: Forward, context: _RenderContext) -> str:
    return _element("Dial", escape(action.permit.number), callerId=context.caller_id)


def _transfer(action: Transfer, context: _RenderContext) -> str:
    return _element(
        "Dial",
        escape(action.permit.number),
        action=context.turn_url("dial"),
        timeout=action.timeout_s,
        callerId=context.caller_id,
    )


def _voicemail(action: TakeVoicemail, context: _RenderContext) -> str:
    """Record a voicemail. The redirect is needed because Twilio skips the action after silence."""
    record = _element(
        "Record",
        action=context.turn_url("record"),
        maxLength=action.longest_s,
        timeout=_VOICEMAIL_SILENCE_S,
        playBeep="true",
    )
    return record + _redirect(context.turn_url("record"))


def _recording(action: Record, context: _RenderContext) -> str:
    status_url = context.callback_urls.build("recording", state=context.state)
    recording = _element(
        "Recording",
        channels="dual",
        recordingStatusCallback=status_url,
        recordingStatusCallbackEvent="completed absent",
    )
    return _element("Start", recording)


def _redirect(url: str) -> str:
    return _element("Redirect", escape(url), method="POST")


_VERBS: Mapping[type[Action], Callable[[Any, _RenderContext], str]] = {
    Relay: _relay,
    Forward: _forward,
    Transfer: _transfer,
    TakeVoicemail: _voicemail,
    Record: _recording,
    SendKeys: lambda action, context: _element("Play", digits=action.keys),
    Poll: lambda action, context: _redirect(context.turn_url("redirect")),
    HangUp: lambda action, context: _element("Hangup"),
    Reject: lambda action, context: _element("Reject", reason=action.reason),
}


def _element(name: str, inner: str | None = None, **attributes: object) -> str:
    attributes_xml = "".join(
        f" {key}={quoteattr(sanitize(str(value)))}"
        for key, value in attributes.items()
        if value is not None
    )
    return (
        f"<{name}{attributes_xml}/>"
        if inner is None
        else f"<{name}{attributes_xml}>{inner}</{name}>"
    )


def _xml_text(text: str) -> str:
    """Return text as XML, in the shorter of its two forms: an update has little room."""
    entities = escape(text, _CR)
    if len(entities) < len(text) * 1.5:
        return entities
    inner = text.replace("]]>", "]]]]><![CDATA[>").replace("\r", "]]>&#13;<![CDATA[")
    return min(entities, f"<![CDATA[{inner}]]>", key=len)


def _boolean(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()
