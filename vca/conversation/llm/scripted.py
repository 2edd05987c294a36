"""An offline model for demos and tests: plays the profile's role in English, the same every time.

It fills its role's form (`scripts`) from what the caller said, tells it back, and parts politely.
It keeps nothing: each turn it goes through the transcript again.
"""

import re
from collections.abc import Generator
from typing import Literal

from vca.conversation.llm import ModelClient, ModelError, ModelRequest
from vca.conversation.llm import english as en
from vca.conversation.llm.scripts import SCRIPTS, Slot
from vca.conversation.types import Profile


class ScriptedModel(ModelClient):
    """Needs no network, no key and no settings."""

    deterministic = True

    def stream(self, request: ModelRequest) -> Generator[str, None, None]:
        said = [message.text for message in request.messages if message.speaker == "caller"]
        if not said:
            raise ModelError("There is nothing to answer.", failure="bad_answer", permanent=True)
        # A real model's pieces are about words too, each with the space before it.
        yield from re.findall(r"\s*\S+", answer(request.profile, said))


def answer(profile: Profile, said: list[str]) -> str:
    """What the role says to the caller's last line, given all of them."""
    form = _Form(profile)
    for line in said[:-1]:
        form.hear(line)
    reply = form.hear(said[-1])
    if len(said) == 1 and profile.role == "custom":
        return f"{_myself(profile)} {reply}"
    return reply


class _Form:
    """One conversation: what is known, and what was asked last."""

    def __init__(self, profile: Profile) -> None:
        self._script = SCRIPTS[profile.role]
        self._known: dict[str, str] = {}
        self._notes: list[str] = []
        self._insisted = False
        self._stage: Literal["asking", "confirming", "correcting", "open"] = "asking"

    def hear(self, line: str) -> str:
        """The reply to the caller's next line."""
        if en.is_parting(line):
            return self._goodbye()
        return {
            "asking": self._asked,
            "confirming": self._confirmed,
            "correcting": self._corrected,
            "open": self._added,
        }[self._stage](line)

    def _asked(self, line: str) -> str:
        slot = self._missing()
        assert slot is not None
        # Callers introduce themselves at once; later, "this is Elm Street" names no caller.
        name, rest = (None, line) if self._known else en.introduced(line)
        if name:
            self._known["name"] = name
        self._fill(slot, rest)
        following = self._missing()
        question = following.question if following else self._confirmation()
        return f"{self._echo(slot, name)} {question}".strip()

    def _fill(self, slot: Slot, line: str) -> None:
        if slot.key == "name":
            self._fill_name(line)
        elif not en.is_greeting(line) and (told := en.substance(line)):
            self._known[slot.key] = told

    def _fill_name(self, line: str) -> None:
        """An answer that is no name is kept as a note, once; who insists is called what he says."""
        name = en.name_in(line)
        if name is None and self._insisted:
            name = en.bare(line) or "caller"
        if name is not None:
            self._known["name"] = name
            return
        self._insisted = True
        self._notes.append(en.mirrored(line))

    def _echo(self, slot: Slot, name: str | None) -> str:
        hello = f"Hello, {name}." if name and slot.key != "name" else ""
        if slot.key in self._known:
            echo = slot.echo.format(**self._known)
        else:
            echo = f"I have noted this: {self._notes[-1]}." if slot.key == "name" else ""
        return f"{hello} {echo}".strip()

    def _missing(self) -> Slot | None:
        return next((slot for slot in self._script.slots if slot.key not in self._known), None)

    def _confirmation(self) -> str:
        self._stage = "confirming"
        return f"Let me repeat: {self._summary()}. Is that right?"

    def _confirmed(self, line: str) -> str:
        if en.is_yes(line):
            self._stage = "open"
            return f"{self._script.done} Is there anything else?"
        if not en.is_no(line):
            return self._added(line)
        instead = en.correction(line)
        if instead:
            return self._corrected(instead)
        self._stage = "correcting"
        return "Sorry. What should I change?"

    def _corrected(self, line: str) -> str:
        return f"{self._noted(line, 'changed it')} {self._script.done} Is there anything else?"

    def _added(self, line: str) -> str:
        if en.is_no(line) and not en.correction(line):
            return self._goodbye()
        if en.is_yes(line):
            return "Please go on."
        return f"{self._noted(line, 'added this')} Is there anything else?"

    def _noted(self, line: str, what: str) -> str:
        self._stage = "open"
        self._notes.append(en.mirrored(line))
        return f"I have {what}: {self._notes[-1]}."

    def _summary(self) -> str:
        slots = (slot for slot in self._script.slots if slot.key in self._known)
        told = [slot.summary.format(**self._known) for slot in slots]
        return "; ".join([*told, *(f"also: {note}" for note in self._notes)])

    def _goodbye(self) -> str:
        name = f", {self._known['name']}" if "name" in self._known else ""
        summary = self._summary()
        noted = f" I have noted: {summary}." if summary else ""
        return f"Thank you for calling{name}.{noted} Goodbye."


def _myself(profile: Profile) -> str:
    """The first sentence of the profile's prompt, said by the one it is about."""
    first = re.split(r"(?<=[.!?])\s|\n", profile.system_prompt.strip(), maxsplit=1)[0]
    bare = en.bare(first)
    turned, count = re.subn(r"(?i)^you(?: are|'re|’re)\b", "I am", bare)
    return f"{turned}." if count else f"My instructions are: {bare}."
