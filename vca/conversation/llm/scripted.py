"""An offline model for demos and tests: plays the profile's role in English, the same every time.

It fills its role's form (`scripts`) from what the caller said, tells it back, and parts politely.
It keeps nothing: each turn it goes through the transcript again. Tools it uses as a sensible agent
would, if they are offered; a finished call it sums up from the form.
"""

import re
from collections.abc import Generator, Iterator
from typing import Literal

from vca.conversation import json_schema
from vca.conversation.llm import ModelClient, ModelError, ModelRequest, Piece, ToolCall
from vca.conversation.llm import english as en
from vca.conversation.llm.scripts import SCRIPTS, Slot
from vca.conversation.types import Profile, Tokens
from vca.kit import json

_CALLER = "Caller: "


class ScriptedModel(ModelClient):
    """Needs no network, no key and no settings."""

    name = "scripted"
    deterministic = True
    for_real_callers = False

    def stream(self, request: ModelRequest) -> Generator[Piece, None, Tokens | None]:
        said = [message.text for message in request.messages if message.speaker == "caller"]
        if not said:
            raise ModelError("There is nothing to answer.", failure="bad_answer", permanent=True)
        pieces = [_noted(request)] if request.must_call else list(_answered(request, said))
        yield from pieces
        return Tokens(_words_of(request), sum(map(_words_in, pieces)))


def answer(profile: Profile, said: list[str]) -> str:
    """What the role says to the caller's last line, given all of them."""
    return _spoken(_filled(profile, said), profile, said)


def _answered(request: ModelRequest, said: list[str]) -> Iterator[Piece]:
    """Words, then the tools that go with them."""
    form = _filled(request.profile, said)
    calls = list(_calls(request, form, said[-1]))
    leaving = any(call.name in ("transfer", "fallback") for call in calls)
    text = en.CONNECTING if leaving else _spoken(form, request.profile, said)
    # A real model's pieces are about words too, each with the space before it.
    yield from re.findall(r"\s*\S+", text)
    yield from calls


def _calls(request: ModelRequest, form: "_Form", line: str) -> Iterator[ToolCall]:
    offered = {tool.name for tool in request.tools}
    target = en.wanted(line, request.profile.transfer_targets)
    if "transfer" in offered and target is not None:
        yield _call("transfer", target=target)
    elif "fallback" in offered and en.wants_a_person(line):
        yield _call("fallback")
    elif "take_message" in offered and form.did == "confirmed":
        yield _call("take_message", name=form.known.get("name"), number=None, reason=form.reason())
    elif "end_call" in offered and form.did == "parted":
        yield _call("end_call")


def _noted(request: ModelRequest) -> ToolCall:
    """The call as the one tool that is offered wants it; nothing that was not said is in it."""
    lines = request.messages[0].text.splitlines()
    said = [line.removeprefix(_CALLER) for line in lines if line.startswith(_CALLER)]
    form = _filled(request.profile, said)
    noted: dict[str, object] = {
        "summary": form.account() or "The caller said nothing of substance.",
        "outcome": form.outcome(),
    }
    tool = request.tools[0]
    wanted = tool.parameters["properties"].get("data")
    if wanted is not None and (data := _known_of(form, wanted)) is not None:
        noted["data"] = data
    return _call(tool.name, **noted)


def _known_of(form: "_Form", wanted: dict[str, object]) -> dict[str, str] | None:
    """What the form knows of what is wanted; None if that does not do."""
    properties = wanted.get("properties")
    names = properties if isinstance(properties, dict) else {}
    known = {
        name: form.known[name]
        for name, schema in names.items()
        if name in form.known and isinstance(schema, dict) and schema.get("type") == "string"
    }
    return known if json_schema.problem(known, wanted) is None else None


def _call(tool: str, /, **arguments: object) -> ToolCall:
    return ToolCall(tool, json.dumps(arguments).decode())


def _words_of(request: ModelRequest) -> int:
    texts = [request.system, *(message.text for message in request.messages)]
    return sum(map(_words_in, texts))


def _words_in(piece: Piece) -> int:
    return len((piece if isinstance(piece, str) else piece.arguments).split())


def _filled(profile: Profile, said: list[str]) -> "_Form":
    form = _Form(profile)
    for line in said:
        form.hear(line)
    return form


def _spoken(form: "_Form", profile: Profile, said: list[str]) -> str:
    if len(said) == 1 and profile.role == "custom":
        return f"{_myself(profile)} {form.said}"
    return form.said


class _Form:
    """One conversation: what is known, and what was asked last."""

    def __init__(self, profile: Profile) -> None:
        self._script = SCRIPTS[profile.role]
        self._tools = profile.tools
        self.known: dict[str, str] = {}
        self._notes: list[str] = []
        self._insisted = False
        self._stage: Literal["asking", "confirming", "correcting", "open"] = "asking"
        self.said = ""
        """The reply to the line that was heard last."""
        self.did: Literal["nothing", "confirmed", "parted"] = "nothing"
        """What that line brought about."""

    def hear(self, line: str) -> None:
        """Take in the caller's next line."""
        self.did = "nothing"
        if en.is_parting(line):
            self.said = self._goodbye()
            return
        self.said = {
            "asking": self._asked,
            "confirming": self._confirmed,
            "correcting": self._corrected,
            "open": self._added,
        }[self._stage](line)

    def reason(self) -> str:
        """What the caller wants, in the words that were told back."""
        told = [text for key, text in self.known.items() if key != "name"]
        return "; ".join([*told, *self._notes]) or "No reason was given."

    def account(self) -> str:
        """The call in a sentence, empty if nothing is known of it."""
        summary = self._summary()
        return f"The caller was told this back: {summary}."[:500] if summary else ""

    def outcome(self) -> str:
        """What became of the call."""
        if not (self.known or self._notes):
            return "no_conversation"
        if self._stage != "open":
            return "unresolved"
        return "message_taken" if "take_message" in self._tools else "resolved"

    def _asked(self, line: str) -> str:
        slot = self._missing()
        assert slot is not None
        # Callers introduce themselves at once; later, "this is Elm Street" names no caller.
        name, rest = (None, line) if self.known else en.introduced(line)
        if name:
            self.known["name"] = name
        self._fill(slot, rest)
        following = self._missing()
        question = following.question if following else self._confirmation()
        return f"{self._echo(slot, name)} {question}".strip()

    def _fill(self, slot: Slot, line: str) -> None:
        if slot.key == "name":
            self._fill_name(line)
        elif not en.is_greeting(line) and (told := en.substance(line)):
            self.known[slot.key] = told

    def _fill_name(self, line: str) -> None:
        """An answer that is no name is kept as a note, once; who insists is called what he says."""
        name = en.name_in(line)
        if name is None and self._insisted:
            name = en.bare(line) or "caller"
        if name is not None:
            self.known["name"] = name
            return
        self._insisted = True
        self._notes.append(en.mirrored(line))

    def _echo(self, slot: Slot, name: str | None) -> str:
        hello = f"Hello, {name}." if name and slot.key != "name" else ""
        if slot.key in self.known:
            echo = slot.echo.format(**self.known)
        else:
            echo = f"I have noted this: {self._notes[-1]}." if slot.key == "name" else ""
        return f"{hello} {echo}".strip()

    def _missing(self) -> Slot | None:
        return next((slot for slot in self._script.slots if slot.key not in self.known), None)

    def _confirmation(self) -> str:
        self._stage = "confirming"
        return f"Let me repeat: {self._summary()}. Is that right?"

    def _confirmed(self, line: str) -> str:
        if en.is_yes(line):
            self._stage = "open"
            self.did = "confirmed"
            return f"{self._script.done} Is there anything else?"
        if not en.is_no(line):
            return self._added(line)
        instead = en.correction(line)
        if instead:
            return self._corrected(instead)
        self._stage = "correcting"
        return "Sorry. What should I change?"

    def _corrected(self, line: str) -> str:
        self.did = "confirmed"
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
        slots = (slot for slot in self._script.slots if slot.key in self.known)
        told = [slot.summary.format(**self.known) for slot in slots]
        return "; ".join([*told, *(f"also: {note}" for note in self._notes)])

    def _goodbye(self) -> str:
        self.did = "parted"
        name = f", {self.known['name']}" if "name" in self.known else ""
        summary = self._summary()
        noted = f" I have noted: {summary}." if summary else ""
        return f"Thank you for calling{name}.{noted} Goodbye."


def _myself(profile: Profile) -> str:
    """The first sentence of the profile's prompt, said by the one it is about."""
    first = re.split(r"(?<=[.!?])\s|\n", profile.system_prompt.strip(), maxsplit=1)[0]
    bare = en.bare(first)
    turned, count = re.subn(r"(?i)^you(?: are|'re|’re)\b", "I am", bare)
    return f"{turned}." if count else f"My instructions are: {bare}."
