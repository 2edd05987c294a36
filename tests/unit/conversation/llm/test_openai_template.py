"""The request that the SDK builds once: its URL and its headers, whatever the environment says."""

import httpx2
import pytest

from vca.conversation.llm.openai_template import build_template

KEY = "sk-secret-4711"


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://models.example/v1", "https://models.example/v1/chat/completions"),
        ("https://models.example/v1/", "https://models.example/v1/chat/completions"),
        ("http://[::1]:8000", "http://[::1]:8000/chat/completions"),
    ],
)
def test_the_path_of_chat_completions_is_appended_to_the_base_url(base_url: str, url: str) -> None:
    template = build_template(base_url, KEY)

    assert (template.method, template.url) == ("POST", httpx2.URL(url))


def test_the_request_has_the_key_and_no_headers_of_the_sdk() -> None:
    template = build_template("https://models.example/v1", KEY)

    assert dict(template.headers) == {
        "host": "models.example",
        "content-type": "application/json",
        "accept": "application/json",
        "authorization": f"Bearer {KEY}",
        "user-agent": "vca",
        "accept-encoding": "identity",
    }


def test_no_variable_of_the_environment_has_an_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = build_template("https://models.example/v1", KEY)
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", "other")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://other.example/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer other\nx-other: other")
    monkeypatch.setenv("HTTPS_PROXY", "http://other.example")

    template = build_template("https://models.example/v1", KEY)

    assert (template.url, template.headers) == (expected.url, expected.headers)
