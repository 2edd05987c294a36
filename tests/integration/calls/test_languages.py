"""Calls in other languages than English: VCA's own sentences, and the tenant's texts for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.fakes.hostile_model import transfer
from tests.fakes.models import SequenceModel
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient
from tests.support.factories import Tenant, fresh_number
from tests.support.services import open_database, use_database
from vca.conversation.localised_phrases import PhraseKey, phrase
from vca.kit import json
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

ScriptModel = Callable[..., SequenceModel]
CLOSED: dict[str, Any] = {"weekly": {}}
VOICE = "Polly.Bianca"


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    """Return a client that sends the fake carrier's webhooks."""
    return CarrierClient(carrier, anonymous)


def _spoken_texts(response: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
    return [
        (action["text"], action["language"], action["voice"])
        for action in response["actions"]
        if action["type"] == "say"
    ]


def _italian(name: PhraseKey) -> tuple[str, str, str]:
    return phrase(name, "it"), "it-IT", VOICE


def test_the_greeting_and_the_consent_are_in_the_profiles_language(
    acme: Tenant, carrier_client: CarrierClient
) -> None:
    acme.profile(name="Acme", role="sales", language="it-IT", voice=VOICE, recording=True)

    response = carrier_client.ring(acme.number()["did_number"], "it-1")

    hello = phrase("hello_with_name", "it").replace("{name}", "Acme")
    greeting = f"{hello} {phrase('offer_sales', 'it')}"
    assert _spoken_texts(response) == [_italian("consent"), (greeting, "it-IT", VOICE)]


def test_a_silence_is_answered_in_the_profiles_language(
    acme: Tenant, carrier_client: CarrierClient
) -> None:
    acme.profile(language="it-IT", voice=VOICE)
    state = carrier_client.ring(acme.number()["did_number"], "it-1")["state"]

    first = carrier_client.say("it-1", state, "")
    second = carrier_client.say("it-1", first["state"], "")

    assert _spoken_texts(first) == [_italian("again")]
    assert _spoken_texts(second) == [_italian("silence")]


def test_the_tenants_phrases_are_spoken(acme: Tenant, carrier_client: CarrierClient) -> None:
    own_phrases = {"again": "Come, scusi?", "silence": "Non la sento.", "consent": "Registriamo."}
    acme.patch("/settings", {"phrases": {"it": own_phrases, "de": {"again": "Wie bitte?"}}})
    acme.profile(language="it-IT", voice=VOICE, recording=True, greeting="Acme.")
    ring = carrier_client.ring(acme.number()["did_number"], "it-1")

    first = carrier_client.say("it-1", ring["state"], "")
    second = carrier_client.say("it-1", first["state"], "")

    assert _spoken_texts(ring)[0] == ("Registriamo.", "it-IT", VOICE)
    assert _spoken_texts(first) == [("Come, scusi?", "it-IT", VOICE)]
    assert _spoken_texts(second) == [("Non la sento.", "it-IT", VOICE)]


def test_another_tenants_phrases_are_not_spoken(
    acme: Tenant, globex: Tenant, carrier_client: CarrierClient
) -> None:
    globex.patch("/settings", {"phrases": {"it": {"again": "Eh?"}}})
    acme.profile(language="it-IT", voice=VOICE)
    state = carrier_client.ring(acme.number()["did_number"], "it-1")["state"]

    assert _spoken_texts(carrier_client.say("it-1", state, "")) == [_italian("again")]


@pytest.mark.parametrize(
    ("settings_change", "expected"),
    [
        ({}, phrase("closed", "it")),
        ({"sentences": {"closed": "Siamo chiusi."}}, "Siamo chiusi."),
        (
            {"sentences": {"closed": "Closed."}, "phrases": {"it": {"closed": "Chiuso."}}},
            "Chiuso.",
        ),
    ],
)
def test_a_closed_number_says_so_in_its_profiles_language_and_voice(
    acme: Tenant, carrier_client: CarrierClient, settings_change: dict[str, Any], expected: str
) -> None:
    acme.patch("/settings", {"hours": CLOSED, **settings_change})
    acme.profile(language="it-IT", voice=VOICE)

    response = carrier_client.ring(acme.number()["did_number"], "it-1")

    assert _spoken_texts(response) == [(expected, "it-IT", VOICE)]


def test_a_number_without_a_profile_speaks_english(
    acme: Tenant, carrier_client: CarrierClient
) -> None:
    acme.patch("/settings", {"hours": CLOSED})

    response = carrier_client.ring(acme.number()["did_number"], "en-1")

    assert _spoken_texts(response) == [(phrase("closed", "en"), None, None)]


def test_a_transfer_that_fails_is_explained_in_the_profiles_language(
    acme: Tenant, carrier_client: CarrierClient, script_model: ScriptModel
) -> None:
    targets = {"sales": {"number": fresh_number()}}
    script_model([transfer("sales")])
    acme.profile(language="it-IT", voice=VOICE, tools=["transfer"], transfer_targets=targets)
    acme.patch("/settings", {"phrases": {"it": {"connecting": "La collego."}}})
    state = carrier_client.ring(acme.number()["did_number"], "it-1")["state"]

    connecting = carrier_client.say("it-1", state, "Vorrei comprare.")
    returned = carrier_client.send_event("leg", "it-1", connecting["state"], outcome="busy")

    assert _spoken_texts(connecting) == [("La collego.", "it-IT", VOICE)]
    assert _spoken_texts(returned) == [_italian("not_connected")]


def test_callers_hear_the_apology_in_their_language_while_the_database_is_away(
    app: Flask, acme: Tenant, carrier_client: CarrierClient
) -> None:
    acme.profile(language="it-IT", voice=VOICE)
    state = carrier_client.ring(acme.number()["did_number"], "it-1")["state"]
    request = carrier_client.build_request("speech", call_id="it-1", state=state, text="Buongiorno")
    use_database(open_database("postgresql://nobody@/nothing?host=/nowhere&port=1"))

    response = app.test_client().post(request.url, data=request.body, headers=dict(request.headers))

    assert _spoken_texts(json.loads(response.data)) == [(phrase("fallback", "it"), "it-IT", None)]


def test_fallback_documents_are_in_the_language_of_each_number(
    app: Flask, acme: Tenant, globex: Tenant, carrier: FakeTelephonyAdapter, tmp_path: Path
) -> None:
    acme.patch("/settings", {"phrases": {"ja": {"fallback": "失礼いたします。"}}})
    acme.profile(language="it-IT", voice=VOICE)
    japanese = acme.profile(language="ja")
    by_default, named = acme.number(), acme.number(ai_profile_id=japanese["id"])
    globex_number = globex.number()

    result = app.test_cli_runner().invoke(args=["telephony", "render-fallbacks", str(tmp_path)])

    def spoken(number: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
        path = tmp_path / "fake" / f"{number['did_number'].lstrip('+')}.json"
        return _spoken_texts(json.loads(path.read_bytes()))

    assert result.exit_code == 0
    assert spoken(by_default) == [_italian("fallback")]
    assert spoken(named) == [("失礼いたします。", "ja", None)]
    assert spoken(globex_number) == [(phrase("fallback", "en"), None, None)]
