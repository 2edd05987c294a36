"""Which client the settings ask for."""

import pytest

from vca.conversation.llm import MODELS, ModelClient, client_for
from vca.conversation.llm.openai import OpenAIModel
from vca.conversation.llm.scripted import ScriptedModel


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_settings_the_scripted_model_answers(nothing: str | None) -> None:
    client = client_for(base_url=nothing, api_key=nothing, model=nothing)

    assert isinstance(client, ScriptedModel)


def test_with_all_settings_openais_protocol_is_spoken() -> None:
    client = client_for(base_url="https://example.com/v1", api_key="k", model="m", timeout_s=3)

    assert isinstance(client, OpenAIModel)


@pytest.mark.parametrize("given", [("u", "", ""), ("", "k", "m"), ("u", "k", None)])
def test_a_part_of_the_settings_is_refused(given: tuple[str | None, ...]) -> None:
    base_url, api_key, model = given

    with pytest.raises(ValueError, match="belong together"):
        client_for(base_url=base_url, api_key=api_key, model=model)


@pytest.mark.parametrize("path", MODELS.values())
def test_every_model_of_the_table_is_a_client(path: str) -> None:
    module, _, name = path.partition(":")
    client = getattr(__import__(module, fromlist=[name]), name)

    assert issubclass(client, ModelClient)
    assert client.deterministic in (True, False)
