"""Streaming client for any endpoint with OpenAI's chat completions API, using the official SDK."""

from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from typing_extensions import override

from vca.conversation.llm import (
    AnswerStream,
    ModelCheck,
    ModelClient,
    ModelRequest,
)
from vca.conversation.llm.model_support import ModelSupport, SupportStore

if TYPE_CHECKING:
    from vca.conversation.llm.openai_http import Endpoint


class OpenAIModel(ModelClient):
    """Talks to an OpenAI-compatible endpoint.

    Creating it is cheap: the first answer, or `warm_up`, imports the SDK and creates the connection
    pool. `timeout_s` limits a whole answer, in seconds. Raises ValueError on a URL or a key that
    can never work.
    """

    deterministic = False

    def __init__(self, *, base_url: str, api_key: str, model: str, timeout_s: float = 10.0) -> None:
        if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).hostname:
            raise ValueError("base_url must be an http or https URL")
        if base_url.rstrip("/").endswith("/chat/completions"):
            raise ValueError("base_url must not include /chat/completions, which VCA appends")
        if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
            raise ValueError("api_key must be printable ASCII without spaces")
        self.name = model
        self.base_url = self.endpoint = base_url
        self._endpoint_settings = (base_url, api_key, model, timeout_s)
        self._supports = SupportStore()
        self._lock = Lock()
        self._endpoint: Endpoint | None = None

    @override
    def stream(self, request: ModelRequest) -> AnswerStream:
        return self._get_endpoint().stream(request)

    @override
    def check(self, model: str | None = None) -> ModelCheck:
        return self._get_endpoint().check(model or self.name)

    @override
    def known_support(self, model: str | None = None) -> ModelSupport:
        return self._supports.get(model or self.name)

    @override
    def set_support(self, model: str, support: ModelSupport) -> None:
        self._supports.set_checked(model, support)

    @override
    def warm_up(self) -> None:
        self._get_endpoint()

    @override
    def close(self) -> None:
        with self._lock:
            if self._endpoint is not None:
                self._endpoint.close()

    def _get_endpoint(self) -> "Endpoint":
        from vca.conversation.llm.openai_http import Endpoint  # slow: imports the SDK

        with self._lock:
            if self._endpoint is None:
                self._endpoint = Endpoint(*self._endpoint_settings, self._supports)
            return self._endpoint
