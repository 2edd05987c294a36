"""An offline model for demos and tests: plays the profile's role in English, deterministically.

It answers a few questions from the profile and its prompt: opening hours, whom it can connect, what
it can do and what it is. Everything else it takes down: it fills in its role's form from what the
caller said (`form`), reads it back and says goodbye. It keeps no state: each turn processes the
whole transcript again. It calls the offered tools as a sensible agent would, and summarises a
finished call from the form.
"""

import re
from collections.abc import Generator, Iterator

from typing_extensions import override

from vca.conversation import json_schema, prompt
from vca.conversation.llm import (
    AnswerStream,
    AnswerSummary,
    Chunk,
    ModelClient,
    ModelError,
    ModelRequest,
    ToolCall,
)
from vca.conversation.types import Profile, Tokens
from vca.devtools.scripted_model import english as en
from vca.devtools.scripted_model.form import Facts, Form
from vca.kit import json
from vca.kit.outcome_stream import PendingOutcome

_CALLER_PREFIX = "Caller: "
# The parts of the system prompt that state the opening hours.
_HOURS = re.compile(rf"^{prompt.HOURS_LABEL} \(.*?\): (.+)$", re.MULTILINE)
_HOURS_STATE = re.compile(rf"{prompt.HOURS_STATE_LABEL}(.+)$", re.MULTILINE)


class ScriptedModel(ModelClient):
    """Needs no network, no key and no settings."""

    name = "scripted"
    deterministic = True
    for_real_callers = False

    @override
    def stream(self, request: ModelRequest) -> AnswerStream:
        summary = PendingOutcome[AnswerSummary]()
        return AnswerStream(_answer(request, summary), summary)


def _answer(
    request: ModelRequest, summary: PendingOutcome[AnswerSummary]
) -> Generator[Chunk, None, None]:
    utterances = [message.text for message in request.messages if message.speaker == "caller"]
    if not utterances:
        raise ModelError(
            "The request contains no message of the caller.",
            failure="bad_answer",
            permanent=True,
        )
    chunks = (
        [_analysis_call(request)] if request.must_call else list(_reply_chunks(request, utterances))
    )
    yield from chunks
    output_words = sum(map(_count_chunk_words, chunks))
    summary.set(AnswerSummary(Tokens(_count_request_words(request), output_words)))


def build_reply(profile: Profile, utterances: list[str]) -> str:
    """Return the role's reply to the last of the caller's utterances."""
    facts = Facts(frozenset(profile.tools), tuple(profile.transfer_targets))
    return _reply_text(_fill_form(profile, facts, utterances), profile, utterances)


def _reply_chunks(request: ModelRequest, utterances: list[str]) -> Iterator[Chunk]:
    """Yield the reply text, then the tool calls that go with it."""
    form = _fill_form(request.profile, _read_facts(request), utterances)
    # Like a real model: chunks of about one word, each with the space before it.
    yield from re.findall(r"\s*\S+", _reply_text(form, request.profile, utterances))
    tool_names = {tool.name for tool in request.tools}
    yield from (call for call in _tool_calls(form) if call.name in tool_names)


def _read_facts(request: ModelRequest) -> Facts:
    """Return what the request says, as a real model would read it."""
    hours, state = _HOURS.search(request.system), _HOURS_STATE.search(request.system)
    return Facts(
        frozenset(tool.name for tool in request.tools),
        tuple(request.profile.transfer_targets),
        f"{state[1]} These are our hours. {hours[1]}" if hours and state else None,
    )


def _tool_calls(form: Form) -> Iterator[ToolCall]:
    """Yield the tool calls that follow from the caller's last line."""
    if form.message_due:
        name = form.values.get("name")
        yield _tool_call("take_message", name=name, number=None, reason=form.reason())
    match form.event:
        case "transfer":
            yield _tool_call("transfer", target=form.target)
        case "fallback":
            yield _tool_call("fallback")
        case "parted":
            yield _tool_call("end_call")


def _analysis_call(request: ModelRequest) -> ToolCall:
    """Return the analysis of the call as a call of the offered tool, without invented facts."""
    lines = request.messages[0].text.splitlines()
    utterances = [
        line.removeprefix(_CALLER_PREFIX) for line in lines if line.startswith(_CALLER_PREFIX)
    ]
    tools = frozenset(request.profile.tools)
    form = _fill_form(request.profile, Facts(tools), utterances)
    arguments: dict[str, object] = {
        "summary": form.call_summary() or "The caller said nothing of substance.",
        "outcome": form.call_outcome(),
    }
    tool = request.tools[0]
    data_schema = tool.parameters["properties"].get("data")
    if data_schema is not None and (data := _extract_data(form, data_schema)) is not None:
        arguments["data"] = data
    return _tool_call(tool.name, **arguments)


def _extract_data(form: Form, data_schema: dict[str, object]) -> dict[str, str] | None:
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


def _fill_form(profile: Profile, facts: Facts, utterances: list[str]) -> Form:
    form = Form(profile.role, facts)
    for line in utterances:
        form.process_line(line)
    return form


def _reply_text(form: Form, profile: Profile, utterances: list[str]) -> str:
    if len(utterances) == 1 and profile.role == "custom":
        return f"{_describe_self(profile)} {form.reply}"
    return form.reply


def _describe_self(profile: Profile) -> str:
    """Return the first sentence of the profile's prompt in the first person."""
    first = re.split(r"(?<=[.!?])\s|\n", profile.system_prompt.strip(), maxsplit=1)[0]
    bare = en.strip_line(first)
    first_person, count = re.subn(r"(?i)^you(?: are|'re|’re)\b", "I am", bare)
    return f"{first_person}." if count else f"My instructions are: {bare}."
