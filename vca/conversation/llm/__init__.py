"""Language models: the contract of a client, and the table of those we have.

Owns the wire to a model, and nothing of what is said. Imports `conversation.types` and
`conversation.json_schema`, `vca.kit` and the model's SDK.
To add a client: a module here with a subclass of `ModelClient`, one line in `MODELS`, its case in
`create_client`, and a subclass of `tests/contract/suites/llm.py`. SDKs are slow to import: a client
imports its own on first use.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, ClassVar, Literal, TypeAlias

from vca.conversation.types import Message, Profile, Tokens
from vca.kit.errors import DomainError

MODEL_CLIENTS = {
    "openai": "vca.conversation.llm.openai:OpenAIModel",
    "scripted": "vca.devtools.scripted_model.model:ScriptedModel",
}

ModelFailure: TypeAlias = Literal["timeout", "rate_limited", "refused", "unavailable", "bad_answer"]


class ModelError(DomainError):
    """A model gave no usable answer; `failure` is a closed vocabulary, for records and metrics.

    `permanent` says that the same request would fail again: retrying is pointless until somebody
    changes a setting. The text holds neither the key nor anything that the model's server wrote.
    `server_status` is the HTTP status of the model's server, `server_code` its error code or what
    went wrong with the connection; None where there is none.
    """

    status = 502
    code = "model-failed"

    def __init__(
        self,
        detail: str,
        *,
        failure: ModelFailure,
        permanent: bool = False,
        server_status: int | None = None,
        server_code: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.failure = failure
        self.permanent = permanent
        self.server_status = server_status
        self.server_code = server_code

    @property
    def log_fields(self) -> dict[str, str | int]:
        """What the log says of this failure: words of closed shapes, never a sentence."""
        fields = {
            "failure": self.failure,
            "server_status": self.server_status,
            "server_code": self.server_code,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class ToolSpec:
    """A tool as it is offered to a model; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class ToolCall:
    """A tool that the model wants used: names and JSON as the model wrote them, unchecked."""

    name: str
    arguments: str


Chunk: TypeAlias = str | ToolCall


@dataclass(frozen=True)
class ModelRequest:
    """One turn's question to a model.

    `system` is the whole system prompt and holds none of the caller's words; `messages` are the
    conversation, oldest first, ending with what the caller just said, speakers alternating.
    `model` None is the client's own. `must_call` wants the one tool of `tools` called and nothing
    said. `profile` is for what is not prompt: the temperature, the role that the scripted model
    plays.
    """

    profile: Profile
    system: str
    messages: tuple[Message, ...]
    model: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    must_call: bool = False


class ModelClient(ABC):
    """A language model that answers one turn at a time; shared by all threads of a process.

    It keeps nothing between two streams but connections, so any process can answer any call's next
    turn. Made before a fork it must be used, and warmed, only after it.
    """

    name: str = "unnamed"
    """What the model is called where no request names another."""

    deterministic: ClassVar[bool]
    """Whether the same request always streams the same pieces."""

    for_real_callers: ClassVar[bool] = True
    """Whether it may talk to people who did not ask for a rehearsal."""

    @abstractmethod
    def stream(self, request: ModelRequest) -> Generator[Chunk, None, Tokens | None]:
        """The answer in pieces as the model makes them; at the end, what it cost, None if unknown.

        Effect: nothing happens before the first piece is asked for; pieces of text are never empty,
        and an answer holds at least a tool call or a character that is no white space. A tool call
        comes whole, its arguments within `MAX_ARGUMENTS` characters; whether it was offered and
        makes sense is for the caller of this to judge.
        Repeated call: independent; streams may be read side by side, one thread each.
        Closing: a consumer that stops early closes the generator (`contextlib.closing`), which
        stops the model and gives its connection back or ends it. Read to the end it closes itself.
        Another thread that wants it to end asks through `llm.stopping`.
        Failure: `ModelError`, nothing else, also after some pieces; whatever text the request
        holds.
        Timing: never later than the client's deadline, measured from the first `next` to the last
        piece, or than the request's own budget (`kit.deadline`) if that is shorter. The wait for
        the first piece counts.
        """

    def warm_up(self) -> None:
        """Load what the first answer would otherwise wait for; no network, repeatable.

        Servers call it in each process after the fork: importing an SDK takes about a second.
        """
        return

    def close(self) -> None:
        """Give up all connections; repeatable. The client is not used afterwards."""
        return


MAX_ARGUMENTS_CHARS = 20_000
"""Characters of a tool call's arguments; what is longer comes cut, and so is no JSON."""


def create_client(
    *, base_url: str | None, api_key: str | None, model: str | None, timeout_s: float = 10.0
) -> ModelClient:
    """The client that the settings ask for: all three given, OpenAI's protocol; none, the script.

    `timeout_s` bounds a whole answer, in seconds. Raises ValueError on a part of the three, or on
    values that can never work.
    """
    if base_url and api_key and model:
        client_class = _load_client_class("openai")
        return client_class(base_url=base_url, api_key=api_key, model=model, timeout_s=timeout_s)
    if base_url or api_key or model:
        raise ValueError("base_url, api_key and model belong together: give all or none")
    return _load_client_class("scripted")()


def _load_client_class(name: str) -> Callable[..., ModelClient]:
    client_class: Callable[..., ModelClient] = resolve_name(MODEL_CLIENTS[name])
    return client_class
