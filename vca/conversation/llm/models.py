"""Which models a deployment asks, in which order, and how long it waits for each."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vca.conversation.llm import ModelClient, ModelRequest, client_for


@dataclass(frozen=True)
class Patience:
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
    listed: frozenset[str] = frozenset()
    patience: Patience = Patience()

    def asked(self, request: ModelRequest) -> list[tuple[ModelClient, ModelRequest]]:
        """Who is asked what, in this order, until one answers.

        A profile's model that is not listed any more is the deployment's own. The fallback has one
        model only.
        """
        named = request.profile.model
        first = replace(request, model=named if named in self.listed else None)
        order = [(self.primary, first)]
        return [*order, (self.fallback, request)] if self.fallback else order

    def warm(self) -> None:
        """Warm each client; see `ModelClient.warm`."""
        for client in filter(None, (self.primary, self.fallback)):
            client.warm()

    def close(self) -> None:
        """Close each client."""
        for client in filter(None, (self.primary, self.fallback)):
            client.close()


def models_for(
    *,
    base_url: str | None,
    api_key: str | None,
    model: str | None,
    timeout_s: float = 10.0,
    listed: Iterable[str] = (),
    fallback_base_url: str | None = None,
    fallback_api_key: str | None = None,
    fallback_model: str | None = None,
) -> Models:
    """The models that the settings ask for; `timeout_s` bounds a whole answer of both together.

    A fallback of which only the model is given is another model of the same endpoint. Raises
    ValueError as `client_for` does, and on a fallback without a first model.
    """
    primary = client_for(base_url=base_url, api_key=api_key, model=model, timeout_s=timeout_s)
    fallback = None
    if fallback_model or fallback_base_url or fallback_api_key:
        if not model:
            raise ValueError("a fallback model needs a first one")
        own = fallback_base_url or fallback_api_key
        fallback = client_for(
            base_url=fallback_base_url if own else base_url,
            # A key goes to the endpoint that it was given for, and to no other.
            api_key=fallback_api_key if own else api_key,
            model=fallback_model,
            timeout_s=timeout_s,
        )
    return Models(primary, fallback, frozenset(listed), Patience(whole_s=timeout_s))
