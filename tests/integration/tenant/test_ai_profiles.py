"""AI profiles: one default, a version for each change."""

import pytest
from flask import Flask

from tests.support.factories import SYSTEM_PROMPT, Tenant


def _defaults(tenant: Tenant) -> list[str]:
    return [profile["id"] for profile in tenant.get("/ai-profiles").json if profile["is_default"]]


def test_a_tenants_first_profile_is_its_default(acme: Tenant) -> None:
    first = acme.profile(is_default=False)
    second = acme.profile()

    assert first["is_default"] is True
    assert second["is_default"] is False


def test_a_profile_of_which_only_the_prompt_was_said_has_sensible_rest(acme: Tenant) -> None:
    profile = acme.profile()

    assert (profile["role"], profile["name"]) == ("custom", "custom")
    assert profile["version"] == 1
    assert profile["recording"] is False
    assert (profile["tools"], profile["end_phrases"], profile["transfer_targets"]) == ([], [], {})


def test_setting_a_default_unsets_the_other(acme: Tenant) -> None:
    acme.profile()
    second = acme.profile()

    changed = acme.patch(f"/ai-profiles/{second['id']}", {"is_default": True})

    assert changed.json["is_default"] is True
    assert _defaults(acme) == [second["id"]]


def test_a_new_default_unsets_the_other(acme: Tenant) -> None:
    acme.profile()

    second = acme.profile(is_default=True)

    assert _defaults(acme) == [second["id"]]


def test_the_default_cannot_simply_stop_being_it(acme: Tenant) -> None:
    profile = acme.profile()

    refused = acme.patch(f"/ai-profiles/{profile['id']}", {"is_default": False})

    assert (refused.status_code, refused.json["code"]) == (409, "default-profile-needed")


def test_the_default_is_deleted_last(acme: Tenant) -> None:
    first, second = acme.profile(), acme.profile()

    assert acme.delete(f"/ai-profiles/{first['id']}").status_code == 409
    assert acme.delete(f"/ai-profiles/{second['id']}").status_code == 204
    assert acme.delete(f"/ai-profiles/{first['id']}").status_code == 204
    assert acme.get("/ai-profiles").json == []


def test_a_profile_that_a_number_names_is_not_deleted(acme: Tenant) -> None:
    acme.profile()
    named = acme.profile()
    number = acme.number(ai_profile_id=named["id"])

    refused = acme.delete(f"/ai-profiles/{named['id']}")
    acme.patch(f"/phone-numbers/{number['id']}", {"ai_profile_id": None})
    deleted = acme.delete(f"/ai-profiles/{named['id']}")

    assert (refused.status_code, refused.json["code"]) == (409, "profile-in-use")
    assert deleted.status_code == 204


def test_each_change_of_content_is_a_new_version(acme: Tenant) -> None:
    profile = acme.profile(greeting="One.")
    one = f"/ai-profiles/{profile['id']}"

    changed = acme.patch(one, {"greeting": "Two.", "temperature": 0.5}).json
    same = acme.patch(one, {"greeting": "Two."}).json

    assert (changed["version"], same["version"]) == (2, 2)
    versions = acme.get(f"{one}/versions").json
    assert [(item["version"], item["greeting"]) for item in versions] == [(2, "Two."), (1, "One.")]


def test_becoming_the_default_is_no_new_version(acme: Tenant) -> None:
    first, second = acme.profile(), acme.profile()

    acme.patch(f"/ai-profiles/{second['id']}", {"is_default": True})

    assert acme.get(f"/ai-profiles/{second['id']}").json["version"] == 1
    assert acme.get(f"/ai-profiles/{first['id']}").json["version"] == 1


def test_a_call_keeps_the_version_that_answered_it(acme: Tenant) -> None:
    profile = acme.profile(greeting="Old words.")
    number = acme.number()["did_number"]
    call = acme.simulate(number)
    acme.patch(f"/ai-profiles/{profile['id']}", {"end_phrases": ["one moment"]})

    still_open = acme.say(call["call_id"], "One moment")
    record = acme.get(f"/calls/{call['call_id']}").json

    assert still_open["status"] == "in_progress"
    assert record["ai_profile_version"] == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("system_prompt", "  "),
        ("role", "boss"),
        ("language", "english!"),
        ("language", "en-US\n"),
        ("temperature", "0.5"),
        ("temperature", 3),
        ("max_turns", 0),
        ("tools", ["shell"]),
        ("transfer_targets", {"sales": {"number": "12"}}),
        ("transfer_targets", {"sales\n": {"number": "+442079460999"}}),
        ("extract", {"type": "no-such-type"}),
        ("recording", "yes"),
        ("version", 7),
    ],
)
def test_a_bad_field_is_named(acme: Tenant, field: str, value: object) -> None:
    refused = acme.post("/ai-profiles", {"system_prompt": SYSTEM_PROMPT, field: value})

    assert refused.status_code == 400
    assert refused.json["errors"][0]["pointer"].startswith(f"/{field}")
    assert acme.get("/ai-profiles").json == []


@pytest.mark.parametrize("model", ["house-model", "other-model", None])
def test_a_profile_names_a_model_that_the_deployment_lists(acme: Tenant, model: str | None) -> None:
    profile = acme.profile(model=model)

    assert acme.get(f"/ai-profiles/{profile['id']}").json["model"] == model


@pytest.mark.parametrize("model", ["gpt-unlisted", "House-Model", "house-model ", "*"])
def test_a_model_that_is_not_listed_is_refused_at_its_field(acme: Tenant, model: str) -> None:
    profile = acme.profile()

    made = acme.post("/ai-profiles", {"system_prompt": SYSTEM_PROMPT, "model": model})
    changed = acme.patch(f"/ai-profiles/{profile['id']}", {"model": model})

    for answer in (made, changed):
        assert answer.status_code == 400
        assert [error["pointer"] for error in answer.json["errors"]] == ["/model"]
        assert "house-model, other-model" in answer.json["errors"][0]["detail"]
    assert acme.get(f"/ai-profiles/{profile['id']}").json["version"] == 1


def test_a_model_that_was_taken_off_the_list_hinders_no_other_change(
    acme: Tenant, app: Flask
) -> None:
    profile = acme.profile(model="house-model")
    app.config["MODELS"] = ()

    changed = acme.patch(f"/ai-profiles/{profile['id']}", {"name": "Bella"})

    assert (changed.status_code, changed.json["model"]) == (200, "house-model")
