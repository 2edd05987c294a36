"""An offline model for demos and tests: plays the profile's role in English, deterministically.

It fills in its role's form (`scripts`) from what the caller said, reads it back and says goodbye.
It keeps no state: each turn processes the whole transcript again. It calls the offered tools as a
sensible agent would, and summarises a finished call from the form.
"""

import re
from collections.abc import Generator, Iterator
from typing import Literal

from typing_extensions import override

from vca.conversation import json_schema
from vca.conversation.llm import (
    AnswerSummary,
    Chunk,
    ModelClient,
    ModelError,
    ModelRequest,
    ToolCall,
)
from vca.conversation.types import Profile, Tokens
from vca.devtools.scripted_model import english as en
from vca.devtools.scripted_model.scripts import SCRIPTS, Slot
from vca.kit import json

_CALLER_PREFIX = "Caller: "


class ScriptedModel(ModelClient):
    """Needs no network, no key and no settings."""

    name = "scripted"
    deterministic = True
    for_real_callers = False

    @override
    def stream(self, request: ModelRequest) -> Generator[Chunk, None, AnswerSummary]:
        utterances = [message.text for message in request.messages if message.speaker == "caller"]
        if not utterances:
            raise ModelError(
                "The request contains no message of the caller.",
                failure="bad_answer",
                permanent=True,
            )
        chunks = (
            [_analysis_call(request)]
            if request.must_call
            else list(_reply_chunks(request, utterances))
        )
        yield from chunks
        output_words = sum(map(_count_chunk_words, chunks))
        return AnswerSummary(Tokens(_count_request_words(request), output_words))


def build_reply(profile: Profile, utterances: list[str]) -> str:
    """Return the role's reply to the last of the caller's utterances."""
    return _reply_text(_fill_form(profile, utterances), profile, utterances)


def _reply_chunks(request: ModelRequest, utterances: list[str]) -> Iterator[Chunk]:
    """Yield the reply text, then the tool calls that go with it."""
    form = _fill_form(request.profile, utterances)
    calls = list(_select_tool_calls(request, form, utterances[-1]))
    is_handing_over = any(call.name in ("transfer", "fallback") for call in calls)
    text = en.CONNECTING if is_handing_over else _reply_text(form, request.profile, utterances)
    # Like a real model: chunks of about one word, each with the space before it.
    yield from re.findall(r"\s*\S+", text)
    yield from calls


def _select_tool_calls(request: ModelRequest, form: "_Form", utterance: str) -> Iterator[ToolCall]:
    tool_names = {tool.name for tool in request.tools}
    target = en.transfer_target(utterance, request.profile.transfer_targets)
    if "transfer" in tool_names and target is not None:
        yield _tool_call("transfer", target=target)
    elif "fallback" in tool_names and en.wants_human(utterance):
        yield _tool_call("fallback")
    elif "take_message" in tool_names and form.event == "confirmed":
        yield _tool_call(
            "take_message", name=form.values.get("name"), number=None, reason=form.reason()
        )
    elif "end_call" in tool_names and form.event == "parted":
        yield _tool_call("end_call")


def _analysis_call(request: ModelRequest) -> ToolCall:
    """Return the analysis of the call as a call of the offered tool, without invented facts."""
    lines = request.messages[0].text.splitlines()
    utterances = [
        line.removeprefix(_CALLER_PREFIX) for line in lines if line.startswith(_CALLER_PREFIX)
    ]
    form = _fill_form(request.profile, utterances)
    arguments: dict[str, object] = {
        "summary": form.call_summary() or "The caller said nothing of substance.",
        "outcome": form.call_outcome(),
    }
    tool = request.tools[0]
    data_schema = tool.parameters["properties"].get("data")
    if data_schema is not None and (data := _extract_data(form, data_schema)) is not None:
        arguments["data"] = data
    return _tool_call(tool.name, **arguments)


def _extract_data(form: "_Form", data_schema: dict[str, object]) -> dict[str, str] | None:
    """Return the requested data that the form has, or None if it does not satisfy the schema."""
    properties = data_schema.get("properties")
    names = properties if isinstance(properties, dict) else {}
    data = {
        name: form.values[name]
        for name, schema in names.items()
        if name in form.values and isinstance(schema, dict) and schema.get("type") == "string"
    }
    return data if json_schema.find_problem(data, data_schema) is None else None


def _tool_call(tool: str, /, **arguments: object) -> ToolCall:
    return ToolCall(tool, json.dumps(arguments).decode())


def _count_request_words(request: ModelRequest) -> int:
    texts = [request.system, *(message.text for message in request.messages)]
    return sum(map(_count_chunk_words, texts))


def _count_chunk_words(chunk: Chunk) -> int:
    return len((chunk if isinstance(chunk, str) else chunk.arguments).split())


def _fill_form(profile: Profile, utterances: list[str]) -> "_Form":
    form = _Form(profile)
    for line in utterances:
        form.process_line(line)
    return form


def _reply_text(form: "_Form", profile: Profile, utterances: list[str]) -> str:
    if len(utterances) == 1 and profile.role == "custom":
        return f"{_describe_self(profile)} {form.reply}"
    return form.reply


class _Form:
    """The state of one conversation: the collected values and the current stage."""

    def __init__(self, profile: Profile) -> None:
        self._script = SCRIPTS[profile.role]
        self._tools = profile.tools
        self.values: dict[str, str] = {}
        self._notes: list[str] = []
        self._name_retried = False
        self._stage: Literal["asking", "confirming", "correcting", "open"] = "asking"
        self.reply = ""
        """The reply to the last line."""
        self.event: Literal["nothing", "confirmed", "parted"] = "nothing"
        """What the last line caused."""

    def process_line(self, line: str) -> None:
        """Process the caller's next line."""
        self.event = "nothing"
        if en.is_goodbye(line):
            self.reply = self._goodbye()
            return
        self.reply = {
            "asking": self._handle_answer,
            "confirming": self._handle_confirmation,
            "correcting": self._handle_correction,
            "open": self._handle_addition,
        }[self._stage](line)

    def reason(self) -> str:
        """Return the reason for the call, in the words that were read back."""
        values = [text for key, text in self.values.items() if key != "name"]
        return "; ".join([*values, *self._notes]) or "No reason was given."

    def call_summary(self) -> str:
        """Return a one-sentence summary of the call, empty if nothing is known."""
        summary = self._summary()
        return f"The caller was told this back: {summary}."[:500] if summary else ""

    def call_outcome(self) -> str:
        """Return the outcome of the call."""
        if not (self.values or self._notes):
            return "no_conversation"
        if self._stage != "open":
            return "unresolved"
        return "message_taken" if "take_message" in self._tools else "resolved"

    def _handle_answer(self, line: str) -> str:
        slot = self._next_empty_slot()
        assert slot is not None
        # Callers introduce themselves in their first line; a later "this is Elm Street" is no name.
        name, remainder = (None, line) if self.values else en.split_introduction(line)
        if name:
            self.values["name"] = name
        self._fill(slot, remainder)
        next_slot = self._next_empty_slot()
        question = next_slot.question if next_slot else self._ask_confirmation()
        return f"{self._echo(slot, name)} {question}".strip()

    def _fill(self, slot: Slot, line: str) -> None:
        if slot.key == "name":
            self._fill_name(line)
        elif not en.is_greeting(line) and (value := en.strip_greeting(line)):
            self.values[slot.key] = value

    def _fill_name(self, line: str) -> None:
        """Store the caller's name.

        An answer without a name is stored as a note once. If the second answer has no name either,
        that answer is used as the name.
        """
        name = en.extract_name(line)
        if name is None and self._name_retried:
            name = en.strip_line(line) or "caller"
        if name is not None:
            self.values["name"] = name
            return
        self._name_retried = True
        self._notes.append(en.to_second_person(line))

    def _echo(self, slot: Slot, name: str | None) -> str:
        hello = f"Hello, {name}." if name and slot.key != "name" else ""
        if slot.key in self.values:
            echo = slot.echo.format(**self.values)
        else:
            echo = f"I have noted this: {self._notes[-1]}." if slot.key == "name" else ""
        return f"{hello} {echo}".strip()

    def _next_empty_slot(self) -> Slot | None:
        return next((slot for slot in self._script.slots if slot.key not in self.values), None)

    def _ask_confirmation(self) -> str:
        self._stage = "confirming"
        return f"Let me repeat: {self._summary()}. Is that right?"

    def _handle_confirmation(self, line: str) -> str:
        if en.is_yes(line):
            self._stage = "open"
            self.event = "confirmed"
            return f"{self._script.closing} Is there anything else?"
        if not en.is_no(line):
            return self._handle_addition(line)
        correction = en.correction(line)
        if correction:
            return self._handle_correction(correction)
        self._stage = "correcting"
        return "Sorry. What should I change?"

    def _handle_correction(self, line: str) -> str:
        self.event = "confirmed"
        return (
            f"{self._add_note(line, 'changed it')} {self._script.closing} Is there anything else?"
        )

    def _handle_addition(self, line: str) -> str:
        if en.is_no(line) and not en.correction(line):
            return self._goodbye()
        if en.is_yes(line):
            return "Please go on."
        return f"{self._add_note(line, 'added this')} Is there anything else?"

    def _add_note(self, line: str, verb_phrase: str) -> str:
        self._stage = "open"
        self._notes.append(en.to_second_person(line))
        return f"I have {verb_phrase}: {self._notes[-1]}."

    def _summary(self) -> str:
        slots = (slot for slot in self._script.slots if slot.key in self.values)
        parts = [slot.summary.format(**self.values) for slot in slots]
        return "; ".join([*parts, *(f"also: {note}" for note in self._notes)])

    def _goodbye(self) -> str:
        self.event = "parted"
        name = f", {self.values['name']}" if "name" in self.values else ""
        summary = self._summary()
        recap = f" I have noted: {summary}." if summary else ""
        return f"Thank you for calling{name}.{recap} Goodbye."


def _describe_self(profile: Profile) -> str:
    """Return the first sentence of the profile's prompt in the first person."""
    first = re.split(r"(?<=[.!?])\s|\n", profile.system_prompt.strip(), maxsplit=1)[0]
    bare = en.strip_line(first)
    first_person, count = re.subn(r"(?i)^you(?: are|'re|’re)\b", "I am", bare)
    return f"{first_person}." if count else f"My instructions are: {bare}."
