"""The choice of model clients by the settings."""

from typing import Any

import pytest

from vca.conversation.llm import MODEL_CLIENTS, ModelClient, create_client
from vca.conversation.llm.models import create_models
from vca.conversation.llm.openai import OpenAIModel
from vca.devtools.scripted_model.model import ScriptedModel


@pytest.mark.parametrize("empty_value", [None, ""])
def test_empty_settings_select_the_scripted_model(empty_value: str | None) -> None:
    client = create_client(base_url=empty_value, api_key=empty_value, model=empty_value)

    assert isinstance(client, ScriptedModel)


def test_complete_settings_select_the_openai_client() -> None:
    client = create_client(base_url="https://example.com/v1", api_key="k", model="m", timeout_s=3)

    assert isinstance(client, OpenAIModel)


@pytest.mark.parametrize("values", [("u", "", ""), ("", "k", "m"), ("u", "k", None)])
def test_incomplete_settings_are_rejected(values: tuple[str | None, ...]) -> None:
    base_url, api_key, model = values

    with pytest.raises(ValueError, match="belong together"):
        create_client(base_url=base_url, api_key=api_key, model=model)


@pytest.mark.parametrize("path", MODEL_CLIENTS.values())
def test_every_entry_of_model_clients_is_a_model_client(path: str) -> None:
    module, _, name = path.partition(":")
    client = getattr(__import__(module, fromlist=[name]), name)

    assert issubclass(client, ModelClient)
    assert client.deterministic in (True, False)
    assert client.for_real_callers is (client is not ScriptedModel)


PRIMARY_SETTINGS: dict[str, Any] = {
    "base_url": "https://example.com/v1",
    "api_key": "k",
    "model": "m",
}


def test_settings_define_the_primary_the_fallback_and_the_allowed_models() -> None:
    models = create_models(
        **PRIMARY_SETTINGS,
        timeout_s=7,
        allowed_models=("m", "n"),
        fallback_base_url="https://example.org/v1",
        fallback_api_key="f",
        fallback_model="other",
    )

    assert (models.primary.name, models.fallback and models.fallback.name) == ("m", "other")
    assert models.allowed_models == {"m", "n"}
    assert models.latency_policy.whole_s == 7
    models.close()


def test_empty_settings_define_no_fallback() -> None:
    models = create_models(base_url="", api_key="", model="")

    assert isinstance(models.primary, ScriptedModel)
    assert models.fallback is None
    models.warm_up()
    models.close()


def test_a_fallback_with_only_a_model_name_uses_the_primary_endpoint() -> None:
    fallback = create_models(**PRIMARY_SETTINGS, fallback_model="other").fallback

    assert isinstance(fallback, OpenAIModel)
    assert fallback.name == "other"
    assert fallback.base_url == PRIMARY_SETTINGS["base_url"]


@pytest.mark.parametrize(
    "overrides",
    [
        {"fallback_base_url": "https://example.org/v1", "fallback_model": "other"},
        {"fallback_api_key": "f", "fallback_model": "other"},
        {"fallback_base_url": "https://example.org/v1", "fallback_api_key": "f"},
        {**dict.fromkeys(PRIMARY_SETTINGS), "fallback_model": "other"},
    ],
)
def test_an_incomplete_fallback_is_rejected(overrides: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        create_models(**{**PRIMARY_SETTINGS, **overrides})
