"""TwiML: a reply in Twilio's own words, written so that it always parses and always fits.

Written by hand and not by the SDK, which checks no attribute, knows no limit, and takes twice as
long while a caller waits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from vca.kit.text import clean
from vca.telephony.providers.twilio.urls import callback
from vca.telephony.types import (
    Action,
    CallReply,
    ComeBack,
    Forward,
    HangUp,
    Listen,
    Record,
    Reject,
    Relay,
    Say,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

# What the strictest of the voices takes (error 13521).
LONGEST_SENTENCE = 3_000
# Of an answer to a webhook (error 11750), in bytes, and of a document that we send along with a
# request (error 32018), in characters.
LARGEST_ANSWER, LARGEST_ORDER = 64_000, 4_000
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
# A parser reads a bare CR as LF.
_CR = {"\r": "&#13;"}
_LONGEST_NAME = 100
_SILENCE_ENDS_MESSAGE_S = 10
# What makes a voice for a socket, by the first part of the name that it has elsewhere.
_MAKERS = {"Polly": "Amazon", "Google": "Google"}
# What listens and speaks knows a language by its country too.
_LOCALES: Mapping[str, str] = {
    "da": "da-DK",
    "de": "de-DE",
    "en": "en-US",
    "es": "es-ES",
    "fi": "fi-FI",
    "fr": "fr-FR",
    "hi": "hi-IN",
    "it": "it-IT",
    "ja": "ja-JP",
    "ko": "ko-KR",
    "nb": "nb-NO",
    "nl": "nl-NL",
    "pl": "pl-PL",
    "pt": "pt-PT",
    "sv": "sv-SE",
    "tr": "tr-TR",
}


@dataclass(frozen=True)
class _Way:
    """How Twilio comes back, and as whom we dial."""

    callback_url: str
    state: str | None
    caller_id: str | None

    def turn(self, verb: str) -> str:
        """Where to, once this verb has come to its end."""
        return callback(self.callback_url, "turn", state=self.state, verb=verb)


def render(
    reply: CallReply, *, callback_url: str, caller_id: str | None = None, most: int = LARGEST_ANSWER
) -> str:
    """The document of a reply, of at most `most` bytes: what is too long to be said is cut."""
    way = _Way(callback_url, reply.state, caller_id)
    longest = LONGEST_SENTENCE
    document = _document(reply, way, longest)
    while len(document.encode()) > most and longest:
        longest = longest * 3 // 4
        document = _document(reply, way, longest)
    return document


def _document(reply: CallReply, way: _Way, longest: int) -> str:
    verbs: list[str] = []
    said: list[str] = []
    for action in reply.actions:
        if isinstance(action, Say):
            said.append(_say(action, longest))
            continue
        if isinstance(action, Listen):  # around the words, so that the caller may break in
            verbs.append(_gather(action, way, "".join(said)))
        else:
            verbs += [*said, _VERBS[type(action)](action, way)]
        said.clear()
    body = "".join([*verbs, *said])
    return f"{_HEAD}<Response>{body}</Response>" if body else f"{_HEAD}<Response/>"


def _say(action: Say, longest: int) -> str:
    text = _text(clean(action.text, longest=longest))
    return _element("Say", text, language=_language(action.language), voice=_name(action.voice))


def _gather(action: Listen, way: _Way, words: str) -> str:
    return _element(
        "Gather",
        words,
        input="speech dtmf",
        action=way.turn("gather"),
        actionOnEmptyResult="true",
        timeout=max(1, action.silence_s),
        speechTimeout="auto",
        language=_language(action.language),
    )


def _relay(action: Relay, way: _Way) -> str:
    """Spoken to through a socket, a voice has a maker; one without is left to the language."""
    maker, _, voice = (action.voice or "").partition(".")
    known = _MAKERS.get(maker)
    token = f'<Parameter name="token" value={quoteattr(clean(action.token))}/>'
    relay = _element(
        "ConversationRelay",
        token,
        url=action.url,
        welcomeGreeting=clean(action.greeting, longest=LONGEST_SENTENCE) or None,
        language=_language(action.language),
        ttsProvider=known,
        voice=_name(voice) if known else None,
        interruptible="any" if action.interruptible else "none",
        dtmfDetection="true",
    )
    return _element("Connect", relay, action=way.turn("connect"))


def _forward(action: Forward, way: _Way) -> str:
    return _element("Dial", escape(action.number), callerId=way.caller_id)


def _transfer(action: Transfer, way: _Way) -> str:
    return _element(
        "Dial",
        escape(action.number),
        action=way.turn("dial"),
        timeout=action.timeout_s,
        callerId=way.caller_id,
    )


def _voicemail(action: TakeVoicemail, way: _Way) -> str:
    """Who says nothing is not brought back by the verb's own action."""
    record = _element(
        "Record",
        action=way.turn("record"),
        maxLength=action.longest_s,
        timeout=_SILENCE_ENDS_MESSAGE_S,
        playBeep="true",
    )
    return record + _redirect(way.turn("record"))


def _recording(action: Record, way: _Way) -> str:
    told = callback(way.callback_url, "recording", state=way.state)
    recording = _element(
        "Recording",
        channels="dual",
        recordingStatusCallback=told,
        recordingStatusCallbackEvent="completed absent",
    )
    return _element("Start", recording)


def _redirect(url: str) -> str:
    return _element("Redirect", escape(url), method="POST")


_VERBS: Mapping[type[Action], Callable[[Any, _Way], str]] = {
    Relay: _relay,
    Forward: _forward,
    Transfer: _transfer,
    TakeVoicemail: _voicemail,
    Record: _recording,
    SendKeys: lambda action, way: _element("Play", digits=action.keys),
    ComeBack: lambda action, way: _redirect(way.turn("redirect")),
    HangUp: lambda action, way: _element("Hangup"),
    Reject: lambda action, way: _element("Reject", reason=action.reason),
}


def _element(name: str, inner: str | None = None, **attributes: object) -> str:
    given = "".join(
        f" {key}={quoteattr(clean(str(value)))}"
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{given}/>" if inner is None else f"<{name}{given}>{inner}</{name}>"


def _text(text: str) -> str:
    """A text as XML, in the shorter of its two spellings: an order has little room."""
    entities = escape(text, _CR)
    if len(entities) < len(text) * 1.5:
        return entities
    inner = text.replace("]]>", "]]]]><![CDATA[>").replace("\r", "]]>&#13;<![CDATA[")
    return min(entities, f"<![CDATA[{inner}]]>", key=len)


def _language(tag: str | None) -> str | None:
    return _name(tag if tag is None else _LOCALES.get(tag, tag))


def _name(text: str | None) -> str | None:
    return None if text is None else clean(text, longest=_LONGEST_NAME)
