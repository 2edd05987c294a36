"""The frames of a carrier's socket: what it tells, read strictly, and what it is told."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vca.kit import json

# In bytes; the library ends a socket that sends more.
MAX_FRAME_BYTES = 64 * 1024
_MAX_PROMPT_CHARS = 10_000
_MAX_CHARS = 2_000
_KEY = re.compile(r"[0-9*#]", re.ASCII)


class UnreadableFrame(Exception):
    """Not a frame at all: bytes, or not an object of JSON."""


@dataclass(frozen=True)
class Setup:
    """The first frame of a socket: what the carrier says of the call, and the token we gave it."""

    fields: Mapping[str, str]
    token: str = field(repr=False)


@dataclass(frozen=True)
class Prompt:
    """What the caller says; all of it, once it is the `last` of them."""

    text: str
    last: bool


@dataclass(frozen=True)
class Interrupt:
    """The caller broke in, and had heard so much of what was said."""

    spoken_text: str


@dataclass(frozen=True)
class Key:
    """One key that the caller pressed."""

    key: str


@dataclass(frozen=True)
class Failure:
    """The carrier cannot go on, or could not do what it was told."""

    description: str


@dataclass(frozen=True)
class UnknownFrame:
    """A frame that means nothing to us."""


Frame = Setup | Prompt | Interrupt | Key | Failure | UnknownFrame


def parse_frame(data: str | bytes) -> Frame:
    """What a frame says; one that we do not know, or whose fields are odd, is `Other`.

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
    """A part of what is said; with the `last` one the carrier has all of it."""
    return _encode({"type": "text", "token": content, "last": last})


def end_frame(handoff: str) -> str:
    """The end of the socket: the carrier asks what follows, and brings `handoff` back."""
    return _encode({"type": "end", "handoffData": handoff})


def _parse_document(document: dict[str, Any]) -> Frame | None:
    match document.get("type"):
        case "setup":
            return _parse_setup(document)
        case "prompt":
            utterance = (_text_field(document, "voicePrompt", _MAX_PROMPT_CHARS) or "").strip()
            return Prompt(utterance, document.get("last") is not False) if utterance else None
        case "interrupt":
            spoken_text = _text_field(document, "utteranceUntilInterrupt", _MAX_PROMPT_CHARS)
            return None if spoken_text is None else Interrupt(spoken_text)
        case "dtmf":
            key = _text_field(document, "digit", 1) or ""
            return Key(key) if _KEY.fullmatch(key) else None
        case "error":
            return Failure(_text_field(document, "description", _MAX_CHARS) or "")
    return None


def _parse_setup(document: dict[str, Any]) -> Setup:
    parameters = document.get("customParameters")
    token = _text_field(parameters, "token", _MAX_CHARS) if isinstance(parameters, dict) else None
    texts = {name: value for name, value in document.items() if isinstance(value, str)}
    return Setup(texts, token or "")


def _text_field(document: Mapping[str, Any], name: str, max_chars: int) -> str | None:
    """A text of bounded length that the database can keep, or None."""
    value = document.get(name)
    fits = isinstance(value, str) and len(value) <= max_chars and json.is_storable(value)
    return value if fits else None


def _encode(document: dict[str, Any]) -> str:
    return json.dumps(document).decode()
