"""HTTP exchange with an OpenAI-compatible endpoint: requests and the meaning of failures.

Importing this module imports the SDK, which takes about a second. Only `openai.OpenAIModel` imports
it, on first use.
"""

import logging
import re
import ssl
from collections.abc import Generator, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, TypeAlias

import httpx2
import openai

from vca.conversation.llm import (
    AnswerSummary,
    Chunk,
    ModelError,
    ModelFailure,
    ModelRequest,
    ToolSpec,
)
from vca.conversation.llm.openai_stream import StreamedAnswer
from vca.conversation.llm.transport import DeadlineTransport, NameNotResolved, ResponseTooLong
from vca.conversation.types import Message, ToolResult
from vca.kit import deadline

EventStream: TypeAlias = openai.Stream[object]

CONNECT_TIMEOUT_S = 3.0
_MIN_TIMEOUT_S = 0.001

# The first class that occurs in an error's chain of causes determines the code.
_CONNECTION_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (NameNotResolved, "name_not_resolved"),
    (ssl.SSLError, "tls_failed"),
    (ConnectionRefusedError, "connection_refused"),
    (httpx2.ConnectError, "connect_failed"),
)
_ERROR_CODE = re.compile(r"[a-z0-9_]{1,40}")
_ALLOWED_HEADERS = ("host", "content-type", "content-length", "accept")

# At level DEBUG these loggers write addresses and headers of every exchange. The content of a call
# must not reach the log.
for _name in ("openai", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

# What a server can make the SDK raise: the SDK's own errors, those of the transport where the SDK
# reads an error's body without catching them, and those of parsing responses of unexpected shape.
_SDK_ERRORS = (
    openai.OpenAIError,
    httpx2.HTTPError,
    httpx2.StreamError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
)


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

    def stream(self, request: ModelRequest) -> Generator[Chunk, None, AnswerSummary]:
        """Yield the answer's chunks and return its summary; raises only ModelError."""
        answer = StreamedAnswer()
        try:
            with self._open_with_retry(request, monotonic() + self._budget_s()) as events:
                for event in events:
                    text = answer.add_event(event)
                    if text:
                        yield text
            yield from answer.tool_calls()
        except _SDK_ERRORS as error:
            # No cause: the server's text may repeat our key and must not reach a traceback.
            raise _to_model_error(error, self._api_key) from None
        if answer.is_empty:
            raise ModelError("The model server returned an empty answer.", failure="bad_answer")
        return AnswerSummary(answer.tokens)

    def _budget_s(self) -> float:
        left_s = deadline.remaining_s()
        return self._timeout_s if left_s is None else min(self._timeout_s, left_s)

    def _open_with_retry(self, request: ModelRequest, ends_at: float) -> EventStream:
        try:
            return self._open_stream(request, ends_at)
        except openai.APITimeoutError:
            raise
        except openai.APIConnectionError:
            # The server may just have closed a pooled connection. There was no response, so a
            # retry is safe.
            return self._open_stream(request, ends_at)

    def _open_stream(self, request: ModelRequest, ends_at: float) -> EventStream:
        """Request usage figures too, unless this endpoint rejects requests that ask for them."""
        if self._reports_usage is False:
            return self._post(request, ends_at, with_usage=False)
        try:
            stream = self._post(request, ends_at, with_usage=True)
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            if self._reports_usage:
                raise
            stream = self._post(request, ends_at, with_usage=False)
            self._reports_usage = False
            return stream
        self._reports_usage = True
        return stream

    def _post(self, request: ModelRequest, ends_at: float, *, with_usage: bool) -> EventStream:
        left_s = max(ends_at - monotonic(), _MIN_TIMEOUT_S)
        # Not the SDK's `chat.completions`, which converts every message by its type and creates an
        # object of every event. Its untyped interface takes a tenth of the time.
        return self._sdk.post(
            "/chat/completions",
            body=_request_body(request, request.model or self._model, with_usage=with_usage),
            options={"timeout": httpx2.Timeout(left_s, connect=min(CONNECT_TIMEOUT_S, left_s))},
            cast_to=object,
            stream=True,
            stream_cls=openai.Stream[object],
        )


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


def _to_model_error(error: Exception, api_key: str) -> ModelError:
    cause = error.__cause__
    if isinstance(error, ResponseTooLong) or isinstance(cause, ResponseTooLong):
        return ModelError("The model server's answer is too long.", failure="bad_answer")
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return ModelError("The model server did not respond in time.", failure="timeout")
    if isinstance(error, openai.APIStatusError):
        return _status_error(error, _safe_error_code(error, api_key))
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError | httpx2.StreamError):
        return ModelError(
            "The model server is unreachable, or the connection was lost.",
            failure="unavailable",
            server_code=_connection_code(error),
        )
    if isinstance(error, openai.APIError):
        return _stream_error(_safe_error_code(error, api_key))
    return ModelError(
        "The model server sent a response of an unknown format.", failure="bad_answer"
    )


def _status_error(error: openai.APIStatusError, code: str) -> ModelError:
    status = error.status_code
    failure, permanent = _classify_status(status, code)
    return ModelError(
        f"The model server responded with status {status}{code and f' ({code})'}.",
        failure=failure,
        permanent=permanent,
        server_status=status,
        server_code=code or None,
    )


def _classify_status(status: int, code: str) -> tuple[ModelFailure, bool]:
    """Return the kind of failure, and whether the same request would fail again."""
    if status == 429:
        # A used-up quota has the same status as a short rate limit, but waiting does not help.
        return "rate_limited", code == "insufficient_quota"
    if status in (408, 504):
        return "timeout", False
    if status >= 500 or status == 409:
        return "unavailable", False
    return "refused", True


def _stream_error(code: str) -> ModelError:
    """Return the error for an error event that the server sent in the middle of an answer."""
    return ModelError(
        f"The model server ended the answer with an error{code and f' ({code})'}.",
        failure="rate_limited" if "rate_limit" in code else "unavailable",
        server_code=code or None,
    )


def _connection_code(error: BaseException) -> str:
    """Return a short code for what went wrong with the connection."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for error_class, code in _CONNECTION_CODES:
        if any(isinstance(link, error_class) for link in chain):
            return code
    return "connection_lost"


def _safe_error_code(error: openai.APIError, api_key: str) -> str:
    """Return the server's error code if it looks like one; free text might contain a secret."""
    codes = (str(code) for code in (error.code, error.type) if code)
    well_formed = (code for code in codes if _ERROR_CODE.fullmatch(code))
    return next((code for code in well_formed if code not in api_key and api_key not in code), "")
