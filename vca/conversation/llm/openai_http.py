"""One exchange with an OpenAI-compatible endpoint: what is sent, and what a failure means.

Importing this imports the SDK, which takes about a second; only `openai.OpenAIModel` does, on first
use.
"""

import logging
import re
import ssl
from collections.abc import Generator
from time import monotonic
from typing import Any, TypeAlias

import httpx2
import openai

from vca.conversation.llm import Chunk, ModelError, ModelFailure, ModelRequest, ToolSpec
from vca.conversation.llm.openai_stream import StreamedAnswer
from vca.conversation.llm.transport import DeadlineTransport, NameNotResolved, ResponseTooLong
from vca.conversation.types import Message, Tokens
from vca.kit import deadline

EventStream: TypeAlias = openai.Stream[object]

CONNECT_TIMEOUT_S = 3.0
_MIN_TIMEOUT_S = 0.001

# The first that is in an error's chain of causes says why there is no connection.
_CONNECTION_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (NameNotResolved, "name_not_resolved"),
    (ssl.SSLError, "tls_failed"),
    (ConnectionRefusedError, "connection_refused"),
    (httpx2.ConnectError, "connect_failed"),
)
_ERROR_CODE = re.compile(r"[a-z0-9_]{1,40}")
_ALLOWED_HEADERS = ("host", "content-type", "content-length", "accept")

# At the level DEBUG these write addresses and headers of every exchange; a call's content is
# nobody's log line.
for _name in ("openai", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

# What a server can make the SDK raise: its own families, the transport's where the SDK reads an
# error's body unguarded, and what comes of parsing answers that are not of the promised shape.
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
    """A pool of connections to one base URL with one key, shared by threads."""

    def __init__(self, base_url: str, api_key: str, model: str, timeout_s: float) -> None:
        self._model = model
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._reports_usage: bool | None = None  # None: not known yet
        self._http = httpx2.Client(
            transport=DeadlineTransport(),
            trust_env=False,
            follow_redirects=False,
            event_hooks={"request": [_HeaderFilter(api_key)]},
        )
        # Empty, not None: for None the SDK looks into the environment.
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

    def stream(self, request: ModelRequest) -> Generator[Chunk, None, Tokens | None]:
        """The answer's pieces, and what it cost; raises ModelError only."""
        answer = StreamedAnswer()
        try:
            with self._open_with_retry(request, monotonic() + self._budget_s()) as events:
                for event in events:
                    text = answer.add_event(event)
                    if text:
                        yield text
            yield from answer.tool_calls()
        except _SDK_ERRORS as error:
            # None: the server's own text, which may repeat our key, must not reach a traceback.
            raise _to_model_error(error, self._api_key) from None
        if answer.is_empty:
            raise ModelError("The model's server answered with no text.", failure="bad_answer")
        return answer.tokens

    def _budget_s(self) -> float:
        left_s = deadline.remaining_s()
        return self._timeout_s if left_s is None else min(self._timeout_s, left_s)

    def _open_with_retry(self, request: ModelRequest, ends_at: float) -> EventStream:
        try:
            return self._open_stream(request, ends_at)
        except openai.APITimeoutError:
            raise
        except openai.APIConnectionError:
            # A kept connection may have been closed by the server just now. Nothing was answered,
            # so once more.
            return self._open_stream(request, ends_at)

    def _open_stream(self, request: ModelRequest, ends_at: float) -> EventStream:
        """Ask for the price too, unless this endpoint refuses a request that does."""
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
        # Not the SDK's `chat.completions`, which walks through every message by its type, and makes
        # a model of every chunk: its own way for what it has no types for costs a tenth.
        return self._sdk.post(
            "/chat/completions",
            body=_request_body(request, request.model or self._model, with_usage=with_usage),
            options={"timeout": httpx2.Timeout(left_s, connect=min(CONNECT_TIMEOUT_S, left_s))},
            cast_to=object,
            stream=True,
            stream_cls=openai.Stream[object],
        )


class _HeaderFilter:
    """Sends our headers only: the SDK adds what OPENAI_CUSTOM_HEADERS and its kin hold."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: httpx2.Request) -> None:
        headers = {
            name: request.headers[name] for name in _ALLOWED_HEADERS if name in request.headers
        }
        headers["authorization"] = f"Bearer {self._api_key}"
        headers["user-agent"] = "vca"
        # A compressed stream is held back until there is enough to compress.
        headers["accept-encoding"] = "identity"
        request.headers = httpx2.Headers(headers)


def _request_body(request: ModelRequest, model: str, *, with_usage: bool) -> dict[str, Any]:
    # No limit on tokens: endpoints disagree on its name, and the engine closes the stream when
    # enough was said.
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


def _request_messages(request: ModelRequest) -> list[dict[str, str]]:
    messages = list(request.messages)
    if messages and messages[0].speaker == "agent":
        # The chat templates of Mistral and Gemma refuse a conversation that the assistant begins.
        messages.insert(0, Message("caller", "(The call is connected.)"))
    system = {"role": "system", "content": _replace_surrogates(request.system)}
    return [system, *map(_request_message, messages)]


def _request_message(message: Message) -> dict[str, str]:
    role = "assistant" if message.speaker == "agent" else "user"
    return {"role": role, "content": _replace_surrogates(message.text)}


def _replace_surrogates(text: str) -> str:
    """The text without lone surrogates, which no JSON in UTF-8 can carry."""
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
        return ModelError("The model's server answered too much.", failure="bad_answer")
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return ModelError("The model's server did not answer in time.", failure="timeout")
    if isinstance(error, openai.APIStatusError):
        return _status_error(error, _safe_error_code(error, api_key))
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError | httpx2.StreamError):
        return ModelError(
            "The model's server is not reachable, or broke off.",
            failure="unavailable",
            server_code=_connection_code(error),
        )
    if isinstance(error, openai.APIError):
        return _stream_error(_safe_error_code(error, api_key))
    return ModelError("The model's server answered in an unknown form.", failure="bad_answer")


def _status_error(error: openai.APIStatusError, code: str) -> ModelError:
    status = error.status_code
    failure, permanent = _classify_status(status, code)
    return ModelError(
        f"The model's server answered {status}{code and f' ({code})'}.",
        failure=failure,
        permanent=permanent,
        server_status=status,
        server_code=code or None,
    )


def _classify_status(status: int, code: str) -> tuple[ModelFailure, bool]:
    """Return the kind of failure, and whether the same request would fail again."""
    if status == 429:
        # A used-up quota has the status of a short wait, and is none.
        return "rate_limited", code == "insufficient_quota"
    if status in (408, 504):
        return "timeout", False
    if status >= 500 or status == 409:
        return "unavailable", False
    return "refused", True


def _stream_error(code: str) -> ModelError:
    """An error that the server put into the stream instead of the rest of the answer."""
    return ModelError(
        f"The model's server broke off with an error{code and f' ({code})'}.",
        failure="rate_limited" if "rate_limit" in code else "unavailable",
        server_code=code or None,
    )


def _connection_code(error: BaseException) -> str:
    """Return what went wrong with the connection, in one word."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for error_class, code in _CONNECTION_CODES:
        if any(isinstance(link, error_class) for link in chain):
            return code
    return "connection_lost"


def _safe_error_code(error: openai.APIError, api_key: str) -> str:
    """The server's own code, if it looks like one: a sentence might hold a secret."""
    codes = (str(code) for code in (error.code, error.type) if code)
    well_formed = (code for code in codes if _ERROR_CODE.fullmatch(code))
    return next((code for code in well_formed if code not in api_key and api_key not in code), "")
