"""Which models a deployment asks, in which order, and how long it waits for each."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vca.conversation.llm import ModelClient, ModelRequest, create_client


@dataclass(frozen=True)
class LatencyPolicy:
    """Seconds that a turn waits.

    `filler_s`: for the first useful piece, before something is said meanwhile. `first_s`: for it,
    before the model is given up. `stall_s`: for the next piece of an answer that has begun.
    `whole_s`: for the whole answer, whoever gives it.
    """

    filler_s: float = 1.5
    first_s: float = 4.0
    stall_s: float = 4.0
    whole_s: float = 10.0


@dataclass(frozen=True)
class Models:
    """The model that answers, the one that steps in for it, and the names that profiles may use."""

    primary: ModelClient
    fallback: ModelClient | None = None
    allowed_models: frozenset[str] = frozenset()
    latency_policy: LatencyPolicy = LatencyPolicy()

    def attempts(self, request: ModelRequest) -> list[tuple[ModelClient, ModelRequest]]:
        """Who is asked what, in this order, until one answers.

        A profile's model that is not listed any more is the deployment's own. The fallback has one
        model only.
        """
        model = request.profile.model
        primary_request = replace(request, model=model if model in self.allowed_models else None)
        attempts = [(self.primary, primary_request)]
        return [*attempts, (self.fallback, request)] if self.fallback else attempts

    def warm_up(self) -> None:
        """Warm each client; see `ModelClient.warm`."""
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
    allowed_models: Iterable[str] = (),
    fallback_base_url: str | None = None,
    fallback_api_key: str | None = None,
    fallback_model: str | None = None,
) -> Models:
    """The models that the settings ask for; `timeout_s` bounds a whole answer of both together.

    A fallback of which only the model is given is another model of the same endpoint. Raises
    ValueError as `client_for` does, and on a fallback without a first model.
    """
    primary = create_client(base_url=base_url, api_key=api_key, model=model, timeout_s=timeout_s)
    fallback = None
    if fallback_model or fallback_base_url or fallback_api_key:
        if not model:
            raise ValueError("a fallback model needs a first one")
        has_own_endpoint = fallback_base_url or fallback_api_key
        fallback = create_client(
            base_url=fallback_base_url if has_own_endpoint else base_url,
            # A key goes to the endpoint that it was given for, and to no other.
            api_key=fallback_api_key if has_own_endpoint else api_key,
            model=fallback_model,
            timeout_s=timeout_s,
        )
    return Models(primary, fallback, frozenset(allowed_models), LatencyPolicy(whole_s=timeout_s))
