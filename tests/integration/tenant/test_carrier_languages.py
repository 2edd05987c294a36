"""A profile's language and voice are checked where the profile meets a number."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from tests.fakes.carriers.twilio.connected_twilio import STATE_SIGNER, connected_twilio
from tests.support.api import ApiResponse
from tests.support.factories import SYSTEM_PROMPT, Tenant, fresh_number
from tests.support.services import app_services, use_carriers
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.api import ApiClient
from vca.telephony.providers.twilio.languages import TABLE
from vca.tenancy.session import tenant_session
from vca.tenant.ai_profiles.models import AiProfile

# Spoken by neither carrier, by Telnyx only, by Twilio in another spelling.
KLINGON, CROATIAN, MANDARIN = "tlh", "hr", "zh-Hans-CN"
TWILIO_VOICE, TELNYX_VOICE = "Google.de-DE-Neural2-A", "Azure.de-DE-KatjaNeural"


@pytest.fixture
def carriers(app: Flask, settings: Settings) -> Iterator[providers.Carriers]:
    """Install Twilio and Telnyx as the only carriers of the deployment, Twilio as the default."""
    production = replace(
        settings,
        app_env="production",
        telephony_provider="",
        api_key_peppers=("p" * 32,),
        encryption_keys=settings.keys_at_rest,
    )
    telnyx = TelnyxAdapter(
        api_client=ApiClient("key"), state_signer=STATE_SIGNER, connection_ids=["1"]
    )
    with connected_twilio() as twilio:
        carriers = use_carriers(providers.Carriers(production))
        carriers.register(twilio.adapter)
        carriers.default = "twilio"
        carriers.register(telnyx)
        yield carriers


def _number(tenant: Tenant, **fields: Any) -> ApiResponse:
    return tenant.post("/phone-numbers", {"did_number": fresh_number(), **fields})


def _store_language(tenant: Tenant, profile: dict[str, Any], **fields: Any) -> None:
    """Change a profile as it was before languages were checked."""
    with tenant_session(tenant.ref, database=app_services().database) as session:
        session.execute(update(AiProfile).where(AiProfile.id == profile["id"]).values(**fields))


def _assert_refused(response: ApiResponse, *possible: str) -> None:
    assert (response.status_code, response.json["code"]) == (409, "carrier-cannot")
    assert set(possible) <= set(response.json["possible"])


@pytest.mark.usefixtures("carriers")
class TestSavingAProfile:
    """A profile is saved if any configured carrier has its language and voice."""

    @pytest.mark.parametrize(
        "fields",
        [
            {"language": CROATIAN},
            {"language": MANDARIN},
            {"language": "EN-us"},
            {"language": "de", "voice": TWILIO_VOICE},
            {"language": "de", "voice": TELNYX_VOICE},
            {"voice": "Polly.Amy"},
            {"voice": None, "language": None},
        ],
    )
    def test_a_language_of_one_carrier_is_saved(self, acme: Tenant, fields: dict[str, Any]) -> None:
        profile = acme.profile(**fields)

        assert {name: profile[name] for name in fields} == fields

    def test_a_language_that_no_carrier_speaks_is_refused(self, acme: Tenant) -> None:
        body = {"system_prompt": SYSTEM_PROMPT, "language": KLINGON}

        response = acme.post("/ai-profiles", body)

        _assert_refused(response, "de-DE", "hr", "zh-TW")
        assert "twilio and telnyx" in response.json["detail"]
        assert acme.get("/ai-profiles").json == []

    @pytest.mark.parametrize(
        "fields",
        [
            {"voice": "nonsense"},
            {"voice": "Polly.Nobody"},
            {"voice": "Polly.Joanna", "language": "de-DE"},
            {"voice": "Google.xx-XX-Standard-A"},
        ],
    )
    def test_a_voice_that_no_carrier_has_is_refused(
        self, acme: Tenant, fields: dict[str, Any]
    ) -> None:
        response = acme.post("/ai-profiles", {"system_prompt": SYSTEM_PROMPT, **fields})

        expected = "Polly.Vicki-Neural" if "language" in fields else "Polly.Joanna-Neural"
        _assert_refused(response, expected, f"AWS.{expected}")

    def test_a_change_to_such_a_language_is_refused(self, acme: Tenant) -> None:
        profile = acme.profile(language="de")

        response = acme.patch(f"/ai-profiles/{profile['id']}", {"language": KLINGON})

        _assert_refused(response, "de-DE")
        assert acme.get(f"/ai-profiles/{profile['id']}").json["language"] == "de"

    @pytest.mark.parametrize("language", ["english!", "en_US", "en-", "e", "x-own", "en-US-é"])
    def test_a_malformed_tag_is_invalid(self, acme: Tenant, language: str) -> None:
        body = {"system_prompt": SYSTEM_PROMPT, "language": language}

        response = acme.post("/ai-profiles", body)

        assert response.status_code == 400
        assert response.json["errors"][0]["pointer"] == "/language"

    def test_a_profile_from_before_can_be_changed_in_other_ways(self, acme: Tenant) -> None:
        profile = acme.profile()
        number = _number(acme)
        _store_language(acme, profile, language=KLINGON, voice="nonsense")

        changed = acme.patch(f"/ai-profiles/{profile['id']}", {"greeting": "Good day."})
        relabelled = acme.patch(f"/phone-numbers/{number.json['id']}", {"label": "Front desk"})

        assert (changed.status_code, relabelled.status_code) == (200, 200)

    def test_the_turn_of_a_profile_from_before_can_be_changed(self, acme: Tenant) -> None:
        profile = acme.profile()
        _number(acme)
        _store_language(acme, profile, language=KLINGON, voice="nonsense")
        url = f"/ai-profiles/{profile['id']}"

        changed = acme.patch(url, {"turn": {"languages": [{"language": "es-ES"}]}})

        assert changed.status_code == 200
        _assert_refused(acme.patch(url, {"turn": {"languages": [{"language": KLINGON}]}}))
        _assert_refused(acme.patch(url, {"turn": {"languages": [{"language": CROATIAN}]}}))

    def test_the_language_can_be_changed_beside_another_one_from_before(self, acme: Tenant) -> None:
        profile = acme.profile()
        _number(acme)
        _store_language(acme, profile, turn={"languages": [{"language": KLINGON, "voice": None}]})

        changed = acme.patch(f"/ai-profiles/{profile['id']}", {"language": "de"})

        assert changed.status_code == 200


@pytest.mark.usefixtures("carriers")
class TestMeetingANumber:
    """A number's carrier must have the language and the voice of the profile that answers it."""

    def test_a_number_with_such_a_profile_is_refused(self, acme: Tenant) -> None:
        acme.profile()
        profile = acme.profile(language=CROATIAN)

        response = _number(acme, ai_profile_id=profile["id"])

        _assert_refused(response, "de-DE", "zh-CN")
        assert set(response.json["possible"]) == set(TABLE.tags())
        assert acme.get("/phone-numbers").json == []
        other_carrier = _number(acme, ai_profile_id=profile["id"], provider_type="telnyx")
        assert other_carrier.status_code == 201

    def test_a_number_that_gets_such_a_profile_is_refused(self, acme: Tenant) -> None:
        acme.profile()
        number = _number(acme).json
        profile = acme.profile(language="de", voice=TELNYX_VOICE)

        response = acme.patch(f"/phone-numbers/{number['id']}", {"ai_profile_id": profile["id"]})

        _assert_refused(response, TWILIO_VOICE)
        assert TELNYX_VOICE not in response.json["possible"]
        assert acme.get(f"/phone-numbers/{number['id']}").json["ai_profile_id"] is None

    def test_a_number_answered_by_the_default_profile_is_refused(self, acme: Tenant) -> None:
        acme.profile(language=CROATIAN)

        _assert_refused(_number(acme))

    def test_a_number_that_loses_its_own_profile_is_refused(self, acme: Tenant) -> None:
        acme.profile(language=CROATIAN)
        own_profile = acme.profile()
        number = _number(acme, ai_profile_id=own_profile["id"]).json

        _assert_refused(acme.patch(f"/phone-numbers/{number['id']}", {"ai_profile_id": None}))

    def test_a_number_that_moves_to_another_carrier_is_refused(self, acme: Tenant) -> None:
        acme.profile(language=CROATIAN)
        number = _number(acme, provider_type="telnyx").json

        response = acme.patch(f"/phone-numbers/{number['id']}", {"provider_type": "twilio"})

        _assert_refused(response)
        assert acme.get(f"/phone-numbers/{number['id']}").json["provider_type"] == "telnyx"

    @pytest.mark.parametrize("fields", [{"language": CROATIAN}, {"voice": "Telnyx.KokoroTTS.af"}])
    def test_a_change_of_a_profile_that_a_number_uses_is_refused(
        self, acme: Tenant, fields: dict[str, Any]
    ) -> None:
        acme.profile()
        profile = acme.profile()
        number = _number(acme, ai_profile_id=profile["id"]).json

        _assert_refused(acme.patch(f"/ai-profiles/{profile['id']}", fields))
        acme.patch(f"/phone-numbers/{number['id']}", {"ai_profile_id": None})
        assert acme.patch(f"/ai-profiles/{profile['id']}", fields).status_code == 200

    def test_a_change_of_the_default_profile_is_refused(self, acme: Tenant) -> None:
        profile = acme.profile()
        _number(acme)

        _assert_refused(acme.patch(f"/ai-profiles/{profile['id']}", {"language": CROATIAN}))

    def test_a_profile_that_becomes_the_default_is_refused(self, acme: Tenant) -> None:
        first = acme.profile()
        _number(acme)
        second = acme.profile(language=CROATIAN)

        _assert_refused(acme.patch(f"/ai-profiles/{second['id']}", {"is_default": True}))
        _assert_refused(
            acme.post(
                "/ai-profiles",
                {"system_prompt": SYSTEM_PROMPT, "language": CROATIAN, "is_default": True},
            )
        )
        assert acme.get(f"/ai-profiles/{first['id']}").json["is_default"] is True

    def test_another_tenants_numbers_do_not_count(self, acme: Tenant, globex: Tenant) -> None:
        globex.profile()
        _number(globex)

        assert acme.profile(language=CROATIAN)["language"] == CROATIAN

    def test_an_outbound_call_with_another_profile_is_refused(self, acme: Tenant) -> None:
        acme.profile()
        number = _number(acme).json
        profile = acme.profile(language=CROATIAN)
        body = {
            "to": fresh_number(),
            "from_phone_number_id": number["id"],
            "ai_profile_id": profile["id"],
        }

        _assert_refused(acme.post("/calls", body))

    def test_an_outbound_call_may_name_the_profile_that_answers_its_number(
        self, acme: Tenant
    ) -> None:
        profile = acme.profile()
        number = _number(acme).json
        _store_language(acme, profile, language=KLINGON)
        body = {
            "to": fresh_number(),
            "from_phone_number_id": number["id"],
            "ai_profile_id": profile["id"],
        }

        assert acme.post("/calls", body).status_code == 202


def test_the_fake_carrier_speaks_every_language(acme: Tenant) -> None:
    profile = acme.profile(language=KLINGON, voice="worf")

    assert acme.number(ai_profile_id=profile["id"])["ai_profile_id"] == profile["id"]


@pytest.mark.parametrize("targets", [None, {}])
def test_the_transfer_tool_requires_a_target(acme: Tenant, targets: Any) -> None:
    body = {"system_prompt": SYSTEM_PROMPT, "tools": ["transfer"]}
    if targets is not None:
        body["transfer_targets"] = targets

    response = acme.post("/ai-profiles", body)

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == "/transfer_targets"


def test_the_transfer_tool_is_not_added_without_a_target(acme: Tenant) -> None:
    profile = acme.profile()
    url, targets = f"/ai-profiles/{profile['id']}", {"sales": {"number": fresh_number()}}
    tools = ["transfer", "end_call"]

    assert acme.patch(url, {"tools": ["transfer"]}).status_code == 400
    assert acme.patch(url, {"tools": ["transfer"], "transfer_targets": targets}).status_code == 200
    assert acme.patch(url, {"tools": tools, "transfer_targets": {}}).status_code == 400
    assert acme.patch(url, {"transfer_targets": {}}).status_code == 200
    assert acme.patch(url, {"tools": tools}).status_code == 400
