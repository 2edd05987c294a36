"""Which client the settings ask for."""

import pytest

from vca.conversation.llm import MODEL_CLIENTS, ModelClient, create_client
from vca.conversation.llm.models import create_models
from vca.conversation.llm.openai import OpenAIModel
from vca.devtools.scripted_model.model import ScriptedModel


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_settings_the_scripted_model_answers(nothing: str | None) -> None:
    client = create_client(base_url=nothing, api_key=nothing, model=nothing)

    assert isinstance(client, ScriptedModel)


def test_with_all_settings_openais_protocol_is_spoken() -> None:
    client = create_client(base_url="https://example.com/v1", api_key="k", model="m", timeout_s=3)

    assert isinstance(client, OpenAIModel)


@pytest.mark.parametrize("given", [("u", "", ""), ("", "k", "m"), ("u", "k", None)])
def test_a_part_of_the_settings_is_refused(given: tuple[str | None, ...]) -> None:
    base_url, api_key, model = given

    with pytest.raises(ValueError, match="belong together"):
        create_client(base_url=base_url, api_key=api_key, model=model)


@pytest.mark.parametrize("path", MODEL_CLIENTS.values())
def test_every_model_of_the_table_is_a_client(path: str) -> None:
    module, _, name = path.partition(":")
    client = getattr(__import__(module, fromlist=[name]), name)

    assert issubclass(client, ModelClient)
    assert client.deterministic in (True, False)
    assert client.for_real_callers is (client is not ScriptedModel)


FIRST = {"base_url": "https://example.com/v1", "api_key": "k", "model": "m"}


def test_the_settings_models_are_a_first_a_fallback_and_a_list() -> None:
    models = create_models(
        **FIRST,
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


def test_without_settings_the_scripted_model_is_alone() -> None:
    models = create_models(base_url="", api_key="", model="")

    assert isinstance(models.primary, ScriptedModel)
    assert models.fallback is None
    models.warm_up()
    models.close()


def test_a_fallback_of_which_only_the_model_is_given_is_at_the_same_endpoint() -> None:
    fallback = create_models(**FIRST, fallback_model="other").fallback

    assert isinstance(fallback, OpenAIModel)
    assert fallback.name == "other"
    assert fallback.base_url == FIRST["base_url"]


@pytest.mark.parametrize(
    "given",
    [
        {"fallback_base_url": "https://example.org/v1", "fallback_model": "other"},
        {"fallback_api_key": "f", "fallback_model": "other"},
        {"fallback_base_url": "https://example.org/v1", "fallback_api_key": "f"},
        {**dict.fromkeys(FIRST), "fallback_model": "other"},
    ],
)
def test_a_part_of_a_fallback_is_refused_and_no_key_goes_elsewhere(
    given: dict[str, str | None],
) -> None:
    with pytest.raises(ValueError):
        create_models(**{**FIRST, **given})  # type: ignore[arg-type] # some of these are None
