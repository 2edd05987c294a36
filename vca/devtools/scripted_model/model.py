"""An offline model for demos and tests: plays the profile's role in English, deterministically.

It answers a few questions from the profile and its prompt: opening hours, whom it can connect and
what it can do. It takes everything else as an answer to its role's next question (`scripts`). It
keeps no state: each turn processes the whole transcript again (`dialogue`). It calls the offered
tools as a sensible agent would.
"""

import re
from collections.abc import Generator, Iterator

from typing_extensions import override

from vca.conversation import prompt
from vca.conversation.llm import (
    AnswerStream,
    AnswerSummary,
    Chunk,
    ModelClient,
    ModelError,
    ModelRequest,
    ToolCall,
)
from vca.conversation.types import Tokens
from vca.devtools.scripted_model.dialogue import Dialogue, Facts
from vca.kit import json
from vca.kit.outcome_stream import PendingOutcome

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
    chunks = list(_required_call(request) if request.must_call else _reply(request, utterances))
    yield from chunks
    output_words = sum(map(_count_chunk_words, chunks))
    summary.set(AnswerSummary(Tokens(_count_request_words(request), output_words)))


def _required_call(request: ModelRequest) -> Iterator[Chunk]:
    """Yield a call without arguments.

    VCA requires a tool call only to analyse a call, for which it never asks a model that is not for
    real callers.
    """
    yield _tool_call(request.tools[0].name)


def _reply(request: ModelRequest, utterances: list[str]) -> Iterator[Chunk]:
    """Yield the reply text, then the tool calls that go with it."""
    dialogue = Dialogue(request.profile.role, _read_facts(request))
    for line in utterances:
        dialogue.process_line(line)
    # Like a real model: chunks of about one word, each with the space before it.
    yield from re.findall(r"\s*\S+", dialogue.reply)
    tool_names = {tool.name for tool in request.tools}
    yield from (call for call in _tool_calls(dialogue) if call.name in tool_names)


def _read_facts(request: ModelRequest) -> Facts:
    """Return what the request says, as a real model would read it."""
    hours, state = _HOURS.search(request.system), _HOURS_STATE.search(request.system)
    return Facts(
        frozenset(tool.name for tool in request.tools),
        tuple(request.profile.transfer_targets),
        f"{state[1]} These are our hours. {hours[1]}" if hours and state else None,
    )


def _tool_calls(dialogue: Dialogue) -> Iterator[ToolCall]:
    """Yield the tool calls that follow from the caller's last line."""
    if dialogue.message_due:
        yield _tool_call("take_message", name=dialogue.name, number=None, reason=dialogue.reason)
    match dialogue.event:
        case "transfer":
            yield _tool_call("transfer", target=dialogue.target)
        case "fallback":
            yield _tool_call("fallback")
        case "parted":
            yield _tool_call("end_call")


def _tool_call(tool: str, /, **arguments: object) -> ToolCall:
    return ToolCall(tool, json.dumps(arguments).decode())


def _count_request_words(request: ModelRequest) -> int:
    texts = [request.system, *(message.text for message in request.messages)]
    return sum(map(_count_chunk_words, texts))


def _count_chunk_words(chunk: Chunk) -> int:
    return len((chunk if isinstance(chunk, str) else chunk.arguments).split())
