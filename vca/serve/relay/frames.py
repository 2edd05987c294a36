"""The frames of a carrier's socket: what it tells, read strictly, and what it is told."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vca.kit import json

# In bytes; the library ends a socket that sends more.
LARGEST = 64 * 1024
_LONGEST_PROMPT = 10_000
_LONGEST = 2_000
_KEY = re.compile(r"[0-9*#]", re.ASCII)


class UnreadableFrame(Exception):
    """Not a frame at all: bytes, or not an object of JSON."""


@dataclass(frozen=True)
class Setup:
    """The first frame of a socket: what the carrier says of the call, and the token we gave it."""

    said: Mapping[str, str]
    token: str = field(repr=False)


@dataclass(frozen=True)
class Prompt:
    """What the caller says; all of it, once it is the `last` of them."""

    text: str
    last: bool


@dataclass(frozen=True)
class Interrupt:
    """The caller broke in, and had heard so much of what was said."""

    heard: str


@dataclass(frozen=True)
class Key:
    """One key that the caller pressed."""

    key: str


@dataclass(frozen=True)
class Failure:
    """The carrier cannot go on, or could not do what it was told."""

    description: str


@dataclass(frozen=True)
class Other:
    """A frame that means nothing to us."""


Frame = Setup | Prompt | Interrupt | Key | Failure | Other


def read(data: str | bytes) -> Frame:
    """What a frame says; one that we do not know, or whose fields are odd, is `Other`.

    Raises UnreadableFrame.
    """
    if isinstance(data, bytes):
        raise UnreadableFrame("bytes")
    try:
        said = json.strict_loads(data.encode())
    except ValueError:
        raise UnreadableFrame("not JSON") from None
    if not isinstance(said, dict):
        raise UnreadableFrame("not an object")
    return _read(said) or Other()


def text(token: str, *, last: bool) -> str:
    """A part of what is said; with the `last` one the carrier has all of it."""
    return _written({"type": "text", "token": token, "last": last})


def end(handoff: str) -> str:
    """The end of the socket: the carrier asks what follows, and brings `handoff` back."""
    return _written({"type": "end", "handoffData": handoff})


def _read(said: dict[str, Any]) -> Frame | None:
    match said.get("type"):
        case "setup":
            return _setup(said)
        case "prompt":
            words = (_text(said, "voicePrompt", _LONGEST_PROMPT) or "").strip()
            return Prompt(words, said.get("last") is not False) if words else None
        case "interrupt":
            heard = _text(said, "utteranceUntilInterrupt", _LONGEST_PROMPT)
            return None if heard is None else Interrupt(heard)
        case "dtmf":
            key = _text(said, "digit", 1) or ""
            return Key(key) if _KEY.fullmatch(key) else None
        case "error":
            return Failure(_text(said, "description", _LONGEST) or "")
    return None


def _setup(said: dict[str, Any]) -> Setup:
    given = said.get("customParameters")
    token = _text(given, "token", _LONGEST) if isinstance(given, dict) else None
    texts = {name: value for name, value in said.items() if isinstance(value, str)}
    return Setup(texts, token or "")


def _text(said: Mapping[str, Any], name: str, longest: int) -> str | None:
    """A text of bounded length that the database can keep, or None."""
    value = said.get(name)
    fits = isinstance(value, str) and len(value) <= longest and json.storable(value)
    return value if fits else None


def _written(said: dict[str, Any]) -> str:
    return json.dumps(said).decode()
