"""Language models: the client contract and the table of available clients.

This package owns the connection to a model, not the content of the conversation. It imports
`conversation.types` and `conversation.json_schema`, `vca.kit` and the model's SDK.

To add a client: a module in this package with a subclass of `ModelClient`, one line in
`MODEL_CLIENTS`, its case in `create_client`, and a subclass of `tests/contract/suites/llm.py`. SDKs
are slow to import, so a client imports its own on first use.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, ClassVar, Literal, TypeAlias

from vca.conversation.llm.model_support import FULL_SUPPORT, ModelSupport
from vca.conversation.types import Message, Profile, Tokens, ToolResult
from vca.conversation.types import ToolCall as ToolCall  # part of the client contract
from vca.kit.errors import DomainError
from vca.kit.outcome_stream import OutcomeStream

MODEL_CLIENTS = {
    "openai": "vca.conversation.llm.openai:OpenAIModel",
    "scripted": "vca.devtools.scripted_model.model:ScriptedModel",
}

ModelFailure: TypeAlias = Literal["timeout", "rate_limited", "refused", "unavailable", "bad_answer"]


class ModelError(DomainError):
    """A model gave no usable answer.

    `failure` is a closed vocabulary, for records and metrics. `permanent` says that the same
    request would fail again: retrying is pointless until a setting changes. The text contains
    neither the API key nor anything that the model's server sent. `server_status` is the HTTP
    status of the model's server. `server_code` is its error code, or what went wrong with the
    connection. Both are None if there is none. `server_message` is what the server wrote, without
    anything of the key or the request: for the log and the operator only, never for tenants.
    `server_retry_after_s` is how long the server asks to wait. `tokens` is an estimate of those
    that were used until then; `model_fallback` sets it.
    """

    status = 502
    code = "model-failed"
    tokens: Tokens = Tokens()

    def __init__(
        self,
        detail: str,
        *,
        failure: ModelFailure,
        permanent: bool = False,
        server_status: int | None = None,
        server_code: str | None = None,
        server_message: str | None = None,
        server_retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.failure = failure
        self.permanent = permanent
        self.server_status = server_status
        self.server_code = server_code
        self.server_message = server_message
        self.server_retry_after_s = server_retry_after_s

    @property
    def end_detail(self) -> str | None:
        """The status and code of the model's server, in the form of a call's `end_detail`."""
        parts = (self.server_status, self.server_code)
        return " ".join(str(part) for part in parts if part is not None) or None

    @property
    def log_fields(self) -> dict[str, str | int]:
        """The log fields of this failure: short codes only, never free text."""
        fields: dict[str, str | int | None] = {
            "failure": self.failure,
            "server_status": self.server_status,
            "server_code": self.server_code,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class ToolSpec:
    """A tool that is offered to a model; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Reasoning:
    """The model is working on its answer: it reasons, and there is nothing to say yet."""


Chunk: TypeAlias = str | ToolCall
FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "refusal", "tool_calls"]


@dataclass(frozen=True)
class AnswerSummary:
    """The facts about an answer that are known once it is complete.

    `tokens` are None if they are unknown. `finish` says why the answer ended: `length` and
    `content_filter` mean that it may have been cut in the middle of a sentence, `refusal` that the
    text is the model's refusal to answer.
    """

    tokens: Tokens | None = None
    finish: FinishReason = "stop"


class AnswerStream(OutcomeStream[Chunk | Reasoning, AnswerSummary]):
    """The chunks of a model's answer; its outcome is the summary of the answer."""


@dataclass(frozen=True)
class ModelRequest:
    """The request to a model for one turn.

    `system` is the whole system prompt and contains none of the caller's words. `messages` are the
    conversation, oldest first, with alternating speakers; the last one is what the caller just
    said, or the results of the tool calls in the message before. `quoted_texts` are data of others
    inside `system`, such as values of variables: a written tool call that repeats them does not
    count. `model` None means the client's default model. `must_call` requires the model to call the
    only tool in `tools` and to say nothing. `profile` provides what is not part of the prompt: the
    temperature, and the role that the scripted model plays. With `gather_text` the answer is used
    only once it is complete, so the client may delay chunks for a moment and yield several at once,
    which saves CPU time.
    """

    profile: Profile
    system: str
    messages: tuple[Message | ToolResult, ...]
    model: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    must_call: bool = False
    quoted_texts: tuple[str, ...] = ()
    gather_text: bool = False


@dataclass(frozen=True)
class ModelCheck:
    """The result of a check of one model.

    `support` is None if the model cannot answer; `failure` says why.
    """

    model: str
    support: ModelSupport | None = None
    failure: ModelError | None = None


class ModelClient(ABC):
    """A language model that answers one turn at a time; shared by all threads of a process.

    It keeps nothing but connections between two streams, so any process can answer the next turn of
    any call. A client that is created before a fork must be used, and warmed up, only after the
    fork.
    """

    name: str = "unnamed"
    """The model's name, used when a request names no other."""

    endpoint: str = "local"
    """The base URL of the model's server; "local" without one."""

    deterministic: ClassVar[bool]
    """Whether the same request always yields the same chunks."""

    for_real_callers: ClassVar[bool] = True
    """Whether it may talk to people who did not start a simulation."""

    @abstractmethod
    def stream(self, request: ModelRequest) -> AnswerStream:
        """Return the answer as a stream of chunks, which arrive as the model generates them.

        `Reasoning` is not part of the answer: it only says that the model is still at work.

        Effect: nothing happens before the first chunk is requested. Text chunks are never empty. An
        answer contains at least one tool call or one character that is not white space. A tool call
        is yielded whole, its arguments within `MAX_ARGUMENTS_CHARS` characters; the caller must
        check whether the tool was offered and the arguments make sense.

        Repeated call: independent. Streams may be read concurrently, one thread each.

        Closing: a consumer that stops early closes the stream (`with`), which stops the model and
        returns its connection or closes it. A stream that is read to its end closes itself. Another
        thread cancels a stream through `llm.cancellation`.

        Failure: `ModelError` and nothing else, whatever text the request contains; also after some
        chunks.

        Timing: never longer than the client's deadline, measured from the first `next` to the last
        chunk, or than the request's own budget (`kit.deadline`) if that is shorter. The wait for
        the first chunk counts.
        """

    def check(self, model: str | None = None) -> ModelCheck:
        """Find out with short requests whether a model answers, and what its server accepts.

        None means the default model. The requests contain nothing of a tenant. The client adapts
        its requests to the result. Never raises ModelError.
        """
        return ModelCheck(model or self.name, FULL_SUPPORT)

    def known_support(self, model: str | None = None) -> ModelSupport:
        """Return what a model's server is known to accept, without asking it."""
        return FULL_SUPPORT

    def set_support(self, model: str, support: ModelSupport) -> None:
        """Adapt requests to the result of a check that another process made."""
        return

    def warm_up(self) -> None:
        """Load what the first answer would otherwise wait for; no network, repeatable.

        Servers call it in each process after the fork, because importing an SDK takes about a
        second.
        """
        return

    def close(self) -> None:
        """Close all connections; repeatable. The client must not be used afterwards."""
        return


MAX_ARGUMENTS_CHARS = 20_000
"""The maximum length of a tool call's arguments; longer ones are cut and are then invalid JSON."""


def create_client(
    *, base_url: str | None, api_key: str | None, model: str | None, timeout_s: float = 10.0
) -> ModelClient:
    """Return the model client for the settings.

    With all three of `base_url`, `api_key` and `model` it is the OpenAI client, with none of them
    the scripted model. `timeout_s` limits a whole answer, in seconds. Raises ValueError if only
    some of the three are given, or on values that can never work.
    """
    if base_url and api_key and model:
        client_class = _load_client_class("openai")
        return client_class(base_url=base_url, api_key=api_key, model=model, timeout_s=timeout_s)
    if base_url or api_key or model:
        raise ValueError("base_url, api_key and model belong together: set all or none")
    return _load_client_class("scripted")()


def _load_client_class(name: str) -> Callable[..., ModelClient]:
    client_class: Callable[..., ModelClient] = resolve_name(MODEL_CLIENTS[name])
    return client_class
