"""HTTP exchange with an OpenAI-compatible endpoint: requests and the meaning of failures.

Importing this module imports the SDK, which takes about a second. Only `openai.OpenAIModel` imports
it, on first use.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import httpx2
import openai

from vca.conversation.llm import (
    AnswerStream,
    AnswerSummary,
    Chunk,
    ModelCheck,
    ModelError,
    ModelRequest,
    Reasoning,
    ToolSpec,
)
from vca.conversation.llm.event_stream import EventReader
from vca.conversation.llm.model_support import (
    FULL_SUPPORT,
    MINIMAL_SUPPORT,
    ModelSupport,
    SupportStore,
    adapt_schema,
    named_feature,
)
from vca.conversation.llm.openai_answer import AnswerAssembler
from vca.conversation.llm.openai_check import (
    TOOL_RESULT_MESSAGES,
    ProbeFailure,
    check_model,
    sent_features,
    tenant_texts,
)
from vca.conversation.llm.openai_errors import REQUEST_ERRORS, ErrorTranslator, status_error
from vca.conversation.llm.openai_template import build_template
from vca.conversation.llm.transport import DeadlineTransport, Response
from vca.conversation.types import Message, ToolResult
from vca.kit import json
from vca.kit.deadline import Deadline
from vca.kit.outcome_stream import PendingOutcome

_AFTER_FINISH_S = 1.0
"""How long to wait for the token usage once the server has said why the answer ended."""
_DRAIN_TIMEOUT_S = 0.05
_GATHER_S = 0.1
"""How long to gather an answer that no caller waits for.

A model that writes its reasoning as text gathers from the first sentence of the reasoning on, so
its first words may be heard this much later.
"""
_SENTENCE_MARK = re.compile("[.!?…。！？]")


class Endpoint:
    """A connection pool for one base URL with one key, shared by threads."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        model: str,
        timeout_s: float,
        supports: SupportStore,
    ) -> None:
        self._model = model
        self._timeout_s = timeout_s
        self._supports = supports
        self._errors = ErrorTranslator(api_key)
        self._template = build_template(base_url, api_key)
        self._transport = DeadlineTransport(self._template)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def stream(self, request: ModelRequest) -> AnswerStream:
        """Return the answer's chunks and its summary; reading them raises only ModelError."""
        summary = PendingOutcome[AnswerSummary]()
        return AnswerStream(self._read_chunks(request, summary), summary)

    def _read_chunks(
        self, request: ModelRequest, summary: PendingOutcome[AnswerSummary]
    ) -> Generator[Chunk | Reasoning, None, None]:
        answer = AnswerAssembler()
        failure: ModelError | None = None
        try:
            with closing(self._open_stream(request, self._deadline())) as response:
                for chunk in _read_answer(response, answer):
                    yield chunk
                    if not response.stream.gather_s and _may_gather(chunk, request):
                        response.stream.gather_s = _GATHER_S
        except REQUEST_ERRORS as error:
            failure = self._errors.translate(error, self._request_texts(request))
        if answer.error:
            failure = self._errors.translate_reported(answer.error, self._request_texts(request))
        if failure is not None and answer.finish is None:
            yield from answer.tool_calls.calls(only_complete=True)
            # No cause: the server's text may repeat our key and must not reach a traceback.
            raise failure from None
        yield from answer.tool_calls.calls()
        summary.set(self._summarise(answer))

    def _summarise(self, answer: AnswerAssembler) -> AnswerSummary:
        if not answer.is_empty:
            return AnswerSummary(answer.tokens, answer.finish_reason)
        if answer.finish in ("content_filter", "refusal"):
            raise ModelError(
                "The model's content filter withheld the answer.",
                failure="refused",
                permanent=True,
                server_code=answer.finish,
            )
        raise ModelError("The model server returned an empty answer.", failure="bad_answer")

    def _request_texts(self, request: ModelRequest) -> Iterator[str]:
        return tenant_texts(_request_body(request, self._model, FULL_SUPPORT))

    def _deadline(self) -> Deadline:
        return Deadline.within_budget(self._timeout_s)

    def check(self, model: str) -> ModelCheck:
        """Find out whether a model answers, and what its server accepts."""
        result = check_model(model, self._probe)
        if result.support is not None:
            self._supports.set_checked(model, result.support)
        return result

    def _probe(
        self, request: ModelRequest, support: ModelSupport, with_tool_result: bool
    ) -> ProbeFailure | None:
        """Send a request, read its first chunk, and return why it failed, or None."""
        body = _request_body(request, self._model, support)
        if with_tool_result:
            body["messages"] = [*body["messages"], *TOOL_RESULT_MESSAGES]
        answer = AnswerAssembler()
        try:
            with closing(self._post(body, self._deadline())) as response:
                next(_read_answer(response, answer), None)
        except openai.APIStatusError as error:
            rejection = self._errors.rejection(error, ())
            feature = named_feature(rejection, sent_features(body, has_tenant_tools=False))
            return ProbeFailure(self._errors.translate(error, ()), feature)
        except REQUEST_ERRORS as error:
            return ProbeFailure(self._errors.translate(error, ()))
        if answer.error:
            return ProbeFailure(self._errors.translate_reported(answer.error, ()))
        return None

    def _open_stream(self, request: ModelRequest, deadline: Deadline) -> Response:
        """Send a request in a form that the server accepts, with at most two further tries.

        The first of them leaves out the part that the server named. If it named none, or also
        rejects that request, the last one leaves out all optional parts. Only what an error names
        is remembered.
        """
        model = request.model or self._model
        support, tries = self._supports.get(model), 0
        while True:
            body = _request_body(request, self._model, support)
            try:
                return self._post(body, deadline)
            except openai.APIStatusError as error:
                rejection = self._errors.rejection(error, tenant_texts(body))
                # What must be called has the parameters of a profile's `extract`.
                features = sent_features(body, has_tenant_tools=request.must_call)
                feature = named_feature(rejection, features)
                if feature is not None and tries == 0:
                    support = support.without(feature)
                elif support != MINIMAL_SUPPORT and (
                    feature is not None
                    or (rejection.may_concern_parts and not self._supports.is_checked(model))
                ):
                    support = MINIMAL_SUPPORT
                else:
                    raise
                if feature is not None:
                    self._supports.learn(model, feature)
                tries += 1

    def _post(self, body: dict[str, Any], deadline: Deadline) -> Response:
        response = self._transport.send(json.dumps(body), deadline)
        if 200 <= response.status < 300:
            return response
        with closing(response):
            content = response.read()
        raise status_error(
            httpx2.Response(
                response.status,
                headers=response.headers,
                content=content,
                request=self._template,
            )
        )


def _may_gather(chunk: Chunk | Reasoning, request: ModelRequest) -> bool:
    """Return whether what follows the chunk may be gathered.

    While a voice speaks the first sentence, there is time for the next one. While a model reasons,
    a caller who hears the answer as it arrives waits for its first words.
    """
    if isinstance(chunk, Reasoning):
        return request.gather_text
    if not isinstance(chunk, str) or chunk.isspace():
        return False
    return request.gather_text or _SENTENCE_MARK.search(chunk) is not None


def _read_answer(
    response: Response, answer: AnswerAssembler
) -> Generator[Chunk | Reasoning, None, None]:
    """Yield the text of a response while it arrives, and collect everything else in `answer`."""
    reader = EventReader()
    body = iter(response)
    stream, deadline = response.stream, response.stream.deadline
    for data in body:
        events = reader.feed(data)
        text = answer.add_events(events)
        if text:
            yield text
        elif answer.has_reasoned:
            yield Reasoning()
        if reader.done or answer.error:
            break
        if events and answer.finish is not None:
            # Some servers announce the end early: more text means that it was not the end.
            is_last = not answer.ends_with_text
            stream.deadline = deadline.shortened(_AFTER_FINISH_S) if is_last else deadline
    else:
        text = answer.add_events(reader.finish())
        if text:
            yield text
    if reader.done:
        # A connection whose body was read to its end can be used again. A new one would cost every
        # turn of a call two or three round trips.
        stream.deadline = stream.deadline.shortened(_DRAIN_TIMEOUT_S)
        with suppress(httpx2.HTTPError):
            for _ in body:
                pass


def _request_body(
    request: ModelRequest, default_model: str, support: ModelSupport
) -> dict[str, Any]:
    """Return the body of a request, without what the server does not accept."""
    # No limit on tokens: endpoints disagree on its name, and the engine closes the stream once
    # the reply is long enough.
    messages = _request_messages(request, tool_role=support.tool_role)
    body: dict[str, Any] = {
        "model": request.model or default_model,
        "messages": messages if support.system_role else _merge_system_prompt(messages),
        "stream": True,
    }
    if support.stream_options:
        body["stream_options"] = {"include_usage": True}
    if support.temperature and request.profile.temperature is not None:
        body["temperature"] = request.profile.temperature
    if support.tools and request.tools:
        tools = [_request_tool(spec) for spec in request.tools]
        for tool in tools:
            tool["function"]["parameters"] = adapt_schema(tool["function"]["parameters"], support)
        body["tools"] = tools
        if request.must_call and support.tool_choice == "named":
            body["tool_choice"] = {"type": "function", "function": {"name": request.tools[0].name}}
        elif request.must_call and support.tool_choice == "required":
            body["tool_choice"] = "required"
    return body


def _merge_system_prompt(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the system prompt in front of the caller's first message."""
    system, first, *others = messages if len(messages) > 1 else [*messages, {"content": ""}]
    content = f"{system['content']}\n\n{first['content']}".strip()
    return [{**first, "role": "user", "content": content}, *others]


def _request_messages(request: ModelRequest, *, tool_role: bool = True) -> list[dict[str, Any]]:
    """Return the messages of the request.

    Without `tool_role`, calls and results become text, for endpoints that reject the role `tool`.
    """
    messages: list[Message | ToolResult] = list(request.messages)
    if not tool_role:
        messages = _without_tool_role(messages)
    if messages and messages[0].speaker == "agent":
        # The chat templates of Mistral and Gemma reject a conversation that the assistant starts.
        messages.insert(0, Message("caller", "(The call is connected.)"))
    system = {"role": "system", "content": _replace_surrogates(request.system)}
    return [system, *map(_request_message, messages)]


def _request_message(message: Message | ToolResult) -> dict[str, Any]:
    text = _replace_surrogates(message.text)
    if isinstance(message, ToolResult):
        return {"role": "tool", "tool_call_id": message.call_id, "content": text}
    if not message.tool_calls:
        return {"role": "assistant" if message.speaker == "agent" else "user", "content": text}
    tool_calls = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {
                "name": _replace_surrogates(call.name),
                "arguments": _replace_surrogates(call.arguments),
            },
        }
        for call in message.tool_calls
    ]
    return {"role": "assistant", "content": text or None, "tool_calls": tool_calls}


def _without_tool_role(messages: Sequence[Message | ToolResult]) -> list[Message | ToolResult]:
    """Return the messages with calls and results as text, and speakers that alternate."""
    texts: list[Message | ToolResult] = []
    for message in messages:
        if isinstance(message, ToolResult):
            message = Message("caller", f"(Result of the tool {message.name}: {message.text})")
        elif message.tool_calls:
            names = ", ".join(call.name for call in message.tool_calls)
            message = Message("agent", f"{message.text} (Tools called: {names}.)".strip())
        if texts and texts[-1].speaker == message.speaker:
            message = replace(message, text=f"{texts.pop().text} {message.text}")
        texts.append(message)
    return texts


def _replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which JSON in UTF-8 cannot represent."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _request_tool(spec: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": spec.name,
            "description": _replace_surrogates(spec.description),
            "parameters": dict(spec.parameters),
        },
    }
