"""The frames of a carrier's WebSocket: parse what it sends, and encode what we send."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vca.kit import json

# The library closes a WebSocket that sends a larger frame.
MAX_FRAME_BYTES = 64 * 1024
_MAX_PROMPT_CHARS = 10_000
_MAX_CHARS = 2_000
_MAX_LANGUAGE_CHARS = 35
_KEY = re.compile(r"[0-9*#]", re.ASCII)


class UnreadableFrame(Exception):
    """Not a frame at all: bytes, or not a JSON object."""


@dataclass(frozen=True)
class Setup:
    """The first frame: what the carrier says about the call, and the token that we gave it."""

    fields: Mapping[str, str]
    token: str = field(repr=False)


@dataclass(frozen=True)
class Prompt:
    """What the caller says. It is complete with the `last` one.

    `language` is the language that the carrier recognized, as it names it, or empty.
    """

    text: str
    last: bool
    language: str = ""


@dataclass(frozen=True)
class Interrupt:
    """The caller barged in after hearing this much of the text."""

    spoken_text: str


@dataclass(frozen=True)
class Key:
    """One key that the caller pressed."""

    key: str


@dataclass(frozen=True)
class Failure:
    """The carrier cannot continue, or could not carry out an instruction."""

    description: str


@dataclass(frozen=True)
class ConfigUpdated:
    """The carrier has changed the language, as we asked it to."""


@dataclass(frozen=True)
class UnknownFrame:
    """A frame that we ignore."""


Frame = Setup | Prompt | Interrupt | Key | Failure | ConfigUpdated | UnknownFrame


def parse_frame(data: str | bytes) -> Frame:
    """Return a frame. One that is unknown or has malformed fields is an UnknownFrame.

    Raises UnreadableFrame.
    """
    if isinstance(data, bytes):
        raise UnreadableFrame("bytes")
    try:
        document = json.strict_loads(data.encode())
    except ValueError:
        raise UnreadableFrame("not JSON") from None
    if not isinstance(document, dict):
        raise UnreadableFrame("not an object")
    return _parse_document(document) or UnknownFrame()


def text_frame(content: str, *, last: bool) -> str:
    """Return a frame with a part of what to speak. With the `last` one it is complete."""
    return _encode({"type": "text", "token": content, "last": last})


def language_frame(tts_language: str) -> str:
    """Return the frame that changes the language that is spoken.

    The recognized languages stay the same. Twilio describes it in "Update configuration during a
    call" (30 October 2026).
    """
    return _encode({"type": "language", "ttsLanguage": tts_language})


def end_frame(handoff: str) -> str:
    """Return the frame that ends the WebSocket.

    The carrier then asks what to do next, and returns `handoff`.
    """
    return _encode({"type": "end", "handoffData": handoff})


def _parse_document(document: dict[str, Any]) -> Frame | None:
    match document.get("type"):
        case "setup":
            return _parse_setup(document)
        case "prompt":
            return _parse_prompt(document)
        case "interrupt":
            spoken_text = _text_field(document, "utteranceUntilInterrupt", _MAX_PROMPT_CHARS)
            return None if spoken_text is None else Interrupt(spoken_text)
        case "dtmf":
            key = _text_field(document, "digit", 1) or ""
            return Key(key) if _KEY.fullmatch(key) else None
        case "error":
            return Failure(_text_field(document, "description", _MAX_CHARS) or "")
        case "configUpdated":
            return ConfigUpdated()
    return None


def _parse_prompt(document: dict[str, Any]) -> Prompt | None:
    utterance = (_text_field(document, "voicePrompt", _MAX_PROMPT_CHARS) or "").strip()
    language = _text_field(document, "lang", _MAX_LANGUAGE_CHARS) or ""
    return Prompt(utterance, document.get("last") is not False, language) if utterance else None


def _parse_setup(document: dict[str, Any]) -> Setup:
    parameters = document.get("customParameters")
    token = _text_field(parameters, "token", _MAX_CHARS) if isinstance(parameters, dict) else None
    texts = {name: value for name, value in document.items() if isinstance(value, str)}
    return Setup(texts, token or "")


def _text_field(document: Mapping[str, Any], name: str, max_chars: int) -> str | None:
    """Return a text of bounded length that the database can store, or None."""
    value = document.get(name)
    fits = isinstance(value, str) and len(value) <= max_chars and json.is_storable(value)
    return value if fits else None


def _encode(document: dict[str, Any]) -> str:
    return json.dumps(document).decode()
