"""The models of a deployment, their order and how long to wait for each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from vca.conversation.llm import ModelCheck, ModelClient, ModelRequest, create_client

_NO_EXCEPTIONS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class LatencyPolicy:
    """The timeouts of a turn, in seconds.

    `filler_s`: the wait for the first useful chunk before a filler is said. `first_s`: the wait for
    it before the model is given up, with exceptions for some models in `first_s_of`. `stall_s`: the
    wait for the next chunk of an answer that has started. `whole_s`: the time for the whole answer,
    of all models together. While a model reasons, its first chunk may take as long as the whole
    answer, and a filler is said every `refill_s`. `gather_text` is as in `ModelRequest`.
    """

    filler_s: float = 1.5
    first_s: float = 4.0
    stall_s: float = 4.0
    whole_s: float = 10.0
    refill_s: float = 5.0
    first_s_of: Mapping[str, float] = field(default_factory=lambda: _NO_EXCEPTIONS)
    gather_text: bool = False

    @property
    def turn_budget_s(self) -> float:
        """The time for a whole turn, with the database before and after the models."""
        return max(20.0, self.whole_s + 10.0)

    def first_chunk_s(self, model: str) -> float:
        """Return the wait for the first useful chunk of a model."""
        return self.first_s_of.get(model, self.first_s)


@dataclass(frozen=True)
class Models:
    """The primary model, its fallback, and the model names that profiles may use.

    `unmarked_reasoners` is the memory of `conversation.speech_only_model`.
    """

    primary: ModelClient
    fallback: ModelClient | None = None
    allowed_models: frozenset[str] = frozenset()
    latency_policy: LatencyPolicy = LatencyPolicy()
    unmarked_reasoners: set[str] = field(default_factory=set, compare=False)

    def attempts(self, request: ModelRequest) -> list[tuple[ModelClient, ModelRequest]]:
        """Return the clients to try in order, each with its request.

        A profile's model that is no longer allowed is replaced by the deployment's default model.
        The fallback has one model only.
        """
        model = request.profile.model
        request = replace(request, gather_text=self.latency_policy.gather_text)
        primary_request = replace(request, model=model if model in self.allowed_models else None)
        attempts = [(self.primary, primary_request)]
        return [*attempts, (self.fallback, request)] if self.fallback else attempts

    def names(self) -> list[tuple[ModelClient, str]]:
        """Return every model that may answer, with its client: the default one first."""
        others = sorted(self.allowed_models - {self.primary.name})
        models = [(self.primary, name) for name in (self.primary.name, *others)]
        return [*models, (self.fallback, self.fallback.name)] if self.fallback else models

    def check(self) -> list[ModelCheck]:
        """Check every model; see `ModelClient.check`."""
        return [client.check(name) for client, name in self.names()]

    def supports_tools(self, model: str | None) -> bool:
        """Return whether the model of a profile is known to support tools, or nothing is known."""
        name = model if model in self.allowed_models else None
        return self.primary.known_support(name).tools

    def warm_up(self) -> None:
        """Warm up each client; see `ModelClient.warm_up`."""
        for client in filter(None, (self.primary, self.fallback)):
            client.warm_up()

    def close(self) -> None:
        """Close each client."""
        for client in filter(None, (self.primary, self.fallback)):
            client.close()


def create_models(
    *,
    base_url: str | None,
    api_key: str | None,
    model: str | None,
    timeout_s: float = 10.0,
    first_token_s: float = 4.0,
    first_token_s_of: Mapping[str, float] = _NO_EXCEPTIONS,
    allowed_models: Iterable[str] = (),
    fallback_base_url: str | None = None,
    fallback_api_key: str | None = None,
    fallback_model: str | None = None,
) -> Models:
    """Return the models for the settings.

    `timeout_s` limits a whole answer of both models together, and `first_token_s` the wait for a
    model's first useful chunk, with exceptions for some models. A fallback with only a model name
    uses another model of the primary endpoint. Raises ValueError as `create_client` does, and on a
    fallback without a primary model.
    """
    primary = create_client(base_url=base_url, api_key=api_key, model=model, timeout_s=timeout_s)
    fallback = None
    if fallback_model or fallback_base_url or fallback_api_key:
        if not model:
            raise ValueError("a fallback model requires a primary model")
        has_own_endpoint = fallback_base_url or fallback_api_key
        fallback = create_client(
            base_url=fallback_base_url if has_own_endpoint else base_url,
            # A key must only be sent to the endpoint that it belongs to.
            api_key=fallback_api_key if has_own_endpoint else api_key,
            model=fallback_model,
            timeout_s=timeout_s,
        )
    latency_policy = LatencyPolicy(
        first_s=first_token_s, whole_s=timeout_s, first_s_of=first_token_s_of
    )
    return Models(primary, fallback, frozenset(allowed_models), latency_policy)
