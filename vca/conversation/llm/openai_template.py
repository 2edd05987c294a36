"""The request that each turn sends to an OpenAI-compatible endpoint, without its body."""

import logging

import httpx2
import openai

_ALLOWED_HEADERS = ("host", "content-type", "content-length", "accept")

# At level DEBUG these loggers write addresses and headers of every exchange. The content of a call
# must not reach the log.
for _name in ("openai", "httpx2"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def build_template(base_url: str, api_key: str) -> httpx2.Request:
    """Let the SDK build a request, which has the URL, the authentication and the headers of all.

    Building each request with the SDK would cost about a tenth of the CPU time of a turn.
    """
    requests: list[httpx2.Request] = []

    def keep_request(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(200, json={})

    http_client = httpx2.Client(
        transport=httpx2.MockTransport(keep_request),
        trust_env=False,
        event_hooks={"request": [_HeaderFilter(api_key)]},
    )
    # Empty strings, because for None the SDK reads the environment.
    with openai.OpenAI(
        base_url=base_url,
        api_key=api_key,
        admin_api_key="",
        organization="",
        project="",
        webhook_secret="",
        max_retries=0,
        http_client=http_client,
    ) as sdk:
        sdk.post("/chat/completions", body={}, cast_to=object)
    [template] = requests
    del template.headers["content-length"]
    return template


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
