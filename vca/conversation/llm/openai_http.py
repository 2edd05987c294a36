"""HTTP exchange with an OpenAI-compatible endpoint: requests and the meaning of failures.

Importing this module imports the SDK, which takes about a second. Only `openai.OpenAIModel` imports
it, on first use.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import httpx2
import openai

from vca.conversation.llm import (
    AnswerSummary,
    Chunk,
    ModelError,
    ModelRequest,
    Reasoning,
    ToolSpec,
)
from vca.conversation.llm.event_stream import EventReader
from vca.conversation.llm.openai_answer import AnswerAssembler
from vca.conversation.llm.openai_errors import REQUEST_ERRORS, reported_error, to_model_error
from vca.conversation.llm.transport import Deadline, DeadlineTransport
from vca.conversation.types import Message, ToolResult
from vca.kit import deadline as request_deadline

CONNECT_TIMEOUT_S = 3.0
_MIN_TIMEOUT_S = 0.001
_AFTER_FINISH_S = 1.0
"""How long to wait for the token usage once the server has said why the answer ended."""
_DRAIN_TIMEOUT_S = 0.05
_ALLOWED_HEADERS = ("host", "content-type", "content-length", "accept")

# At level DEBUG these loggers write addresses and headers of every exchange. The content of a call
# must not reach the log.
for _name in ("openai", "httpx2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Endpoint:
    """A connection pool for one base URL with one key, shared by threads."""

    def __init__(self, base_url: str, api_key: str, model: str, timeout_s: float) -> None:
        self._model = model
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._reports_usage: bool | None = None  # None: unknown
        self._http = httpx2.Client(
            transport=DeadlineTransport(),
            trust_env=False,
            follow_redirects=False,
            event_hooks={"request": [_HeaderFilter(api_key)]},
        )
        # Empty strings, because for None the SDK reads the environment.
        self._sdk = openai.OpenAI(
            base_url=base_url,
            api_key=api_key,
            admin_api_key="",
            organization="",
            project="",
            webhook_secret="",
            max_retries=0,
            http_client=self._http,
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def stream(self, request: ModelRequest) -> Generator[Chunk | Reasoning, None, AnswerSummary]:
        """Yield the answer's chunks and return its summary; raises only ModelError."""
        deadline = Deadline(self._budget_s())
        answer = AnswerAssembler()
        failure: ModelError | None = None
        try:
            with closing(self._open_with_retry(request, deadline)) as response:
                yield from _read_answer(response, answer, deadline)
        except REQUEST_ERRORS as error:
            failure = to_model_error(error, self._api_key)
        if answer.error:
            failure = reported_error(answer.error, self._api_key)
        if failure is not None and answer.finish is None:
            yield from answer.tool_calls.calls(only_complete=True)
            # No cause: the server's text may repeat our key and must not reach a traceback.
            raise failure from None
        yield from answer.tool_calls.calls()
        return self._summarise(answer)

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

    def _budget_s(self) -> float:
        left_s = request_deadline.remaining_s()
        budget_s = self._timeout_s if left_s is None else min(self._timeout_s, left_s)
        return max(budget_s, _MIN_TIMEOUT_S)

    def _open_with_retry(self, request: ModelRequest, deadline: Deadline) -> httpx2.Response:
        try:
            return self._open_stream(request, deadline)
        except openai.APITimeoutError:
            raise
        except openai.APIConnectionError:
            # The server may just have closed a pooled connection. There was no response, so a
            # retry is safe.
            return self._open_stream(request, deadline)

    def _open_stream(self, request: ModelRequest, deadline: Deadline) -> httpx2.Response:
        """Request usage figures too, unless this endpoint rejects requests that ask for them."""
        if self._reports_usage is False:
            return self._post(request, deadline, with_usage=False)
        try:
            response = self._post(request, deadline, with_usage=True)
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            if self._reports_usage:
                raise
            response = self._post(request, deadline, with_usage=False)
            self._reports_usage = False
            return response
        self._reports_usage = True
        return response

    def _post(
        self, request: ModelRequest, deadline: Deadline, *, with_usage: bool
    ) -> httpx2.Response:
        # Not the SDK's `chat.completions`, which converts every message by its type and creates an
        # object of every event. Of its untyped interface we only use the raw response.
        stream = self._sdk.post(
            "/chat/completions",
            body=_request_body(request, request.model or self._model, with_usage=with_usage),
            options={"timeout": httpx2.Timeout(deadline, connect=CONNECT_TIMEOUT_S)},
            cast_to=object,
            stream=True,
            stream_cls=openai.Stream[object],
        )
        return stream.response


def _read_answer(
    response: httpx2.Response, answer: AnswerAssembler, deadline: Deadline
) -> Generator[Chunk | Reasoning, None, None]:
    """Yield the text of a response while it arrives, and collect everything else in `answer`."""
    reader = EventReader()
    body = response.iter_raw()
    ends_at = deadline.ends_at
    for data in body:
        text = answer.add_events(reader.feed(data))
        if text:
            yield text
        elif answer.has_reasoned:
            yield Reasoning()
        if reader.done or answer.error:
            break
        if answer.finish is not None:
            deadline.ends_at = ends_at
            # Some servers announce the end early: more text means that it was not the end.
            if not text:
                deadline.shorten(_AFTER_FINISH_S)
    else:
        text = answer.add_events(reader.finish())
        if text:
            yield text
    if reader.done:
        # A connection whose body was read to its end can be used again. A new one would cost every
        # turn of a call two or three round trips.
        deadline.shorten(_DRAIN_TIMEOUT_S)
        with suppress(httpx2.HTTPError):
            for _ in body:
                pass


class _HeaderFilter:
    """Sends our headers only: the SDK adds those of OPENAI_CUSTOM_HEADERS and similar variables."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: httpx2.Request) -> None:
        headers = {
            name: request.headers[name] for name in _ALLOWED_HEADERS if name in request.headers
        }
        headers["authorization"] = f"Bearer {self._api_key}"
        headers["user-agent"] = "vca"
        # A server holds back a compressed stream until it has enough to compress.
        headers["accept-encoding"] = "identity"
        request.headers = httpx2.Headers(headers)


def _request_body(request: ModelRequest, model: str, *, with_usage: bool) -> dict[str, Any]:
    # No limit on tokens: endpoints disagree on its name, and the engine closes the stream once
    # the reply is long enough.
    body: dict[str, Any] = {"model": model, "messages": _request_messages(request), "stream": True}
    if with_usage:
        body["stream_options"] = {"include_usage": True}
    if request.profile.temperature is not None:
        body["temperature"] = request.profile.temperature
    if request.tools:
        body["tools"] = [_request_tool(spec) for spec in request.tools]
    if request.must_call:
        body["tool_choice"] = {"type": "function", "function": {"name": request.tools[0].name}}
    return body


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
