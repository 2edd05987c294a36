"""AI profiles: the default profile, versions, and validation of fields."""

import pytest
from flask import Flask

from tests.support.factories import SYSTEM_PROMPT, Tenant


def _default_profile_ids(tenant: Tenant) -> list[str]:
    return [profile["id"] for profile in tenant.get("/ai-profiles").json if profile["is_default"]]


def test_a_tenants_first_profile_is_its_default(acme: Tenant) -> None:
    first = acme.profile(is_default=False)
    second = acme.profile()

    assert first["is_default"] is True
    assert second["is_default"] is False


def test_a_profile_created_with_only_a_prompt_has_default_values(acme: Tenant) -> None:
    profile = acme.profile()

    assert (profile["role"], profile["name"]) == ("custom", "custom")
    assert profile["version"] == 1
    assert profile["recording"] is False
    assert (profile["tools"], profile["end_phrases"], profile["transfer_targets"]) == ([], [], {})


def test_setting_a_default_unsets_the_other(acme: Tenant) -> None:
    acme.profile()
    second = acme.profile()

    response = acme.patch(f"/ai-profiles/{second['id']}", {"is_default": True})

    assert response.json["is_default"] is True
    assert _default_profile_ids(acme) == [second["id"]]


def test_creating_a_default_profile_unsets_the_other(acme: Tenant) -> None:
    acme.profile()

    second = acme.profile(is_default=True)

    assert _default_profile_ids(acme) == [second["id"]]


def test_unsetting_the_default_without_a_replacement_returns_409(acme: Tenant) -> None:
    profile = acme.profile()

    response = acme.patch(f"/ai-profiles/{profile['id']}", {"is_default": False})

    assert (response.status_code, response.json["code"]) == (409, "default-profile-needed")


def test_the_default_profile_can_only_be_deleted_last(acme: Tenant) -> None:
    first, second = acme.profile(), acme.profile()

    assert acme.delete(f"/ai-profiles/{first['id']}").status_code == 409
    assert acme.delete(f"/ai-profiles/{second['id']}").status_code == 204
    assert acme.delete(f"/ai-profiles/{first['id']}").status_code == 204
    assert acme.get("/ai-profiles").json == []


def test_a_profile_that_a_number_names_is_not_deleted(acme: Tenant) -> None:
    acme.profile()
    profile = acme.profile()
    number = acme.number(ai_profile_id=profile["id"])

    rejected_response = acme.delete(f"/ai-profiles/{profile['id']}")
    acme.patch(f"/phone-numbers/{number['id']}", {"ai_profile_id": None})
    response = acme.delete(f"/ai-profiles/{profile['id']}")

    assert (rejected_response.status_code, rejected_response.json["code"]) == (
        409,
        "profile-in-use",
    )
    assert response.status_code == 204


def test_each_change_of_content_is_a_new_version(acme: Tenant) -> None:
    profile = acme.profile(greeting="One.")
    path = f"/ai-profiles/{profile['id']}"

    changed = acme.patch(path, {"greeting": "Two.", "temperature": 0.5}).json
    unchanged = acme.patch(path, {"greeting": "Two."}).json

    assert (changed["version"], unchanged["version"]) == (2, 2)
    versions = acme.get(f"{path}/versions").json
    assert [(item["version"], item["greeting"]) for item in versions] == [(2, "Two."), (1, "One.")]


def test_becoming_the_default_creates_no_new_version(acme: Tenant) -> None:
    first, second = acme.profile(), acme.profile()

    acme.patch(f"/ai-profiles/{second['id']}", {"is_default": True})

    assert acme.get(f"/ai-profiles/{second['id']}").json["version"] == 1
    assert acme.get(f"/ai-profiles/{first['id']}").json["version"] == 1


def test_a_call_records_the_profile_version_that_answered_it(acme: Tenant) -> None:
    profile = acme.profile(greeting="Old words.")
    number = acme.number()["did_number"]
    call = acme.simulate(number)
    acme.patch(f"/ai-profiles/{profile['id']}", {"end_phrases": ["one moment"]})

    turn_response = acme.say(call["call_id"], "One moment")
    ended_call = acme.get(f"/calls/{call['call_id']}").json

    assert turn_response["status"] == "in_progress"
    assert ended_call["ai_profile_version"] == 1


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
def test_an_invalid_field_is_reported_with_its_pointer(
    acme: Tenant, field: str, value: object
) -> None:
    response = acme.post("/ai-profiles", {"system_prompt": SYSTEM_PROMPT, field: value})

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"].startswith(f"/{field}")
    assert acme.get("/ai-profiles").json == []


@pytest.mark.parametrize(
    ("extract", "pointer", "detail"),
    [
        (
            {"properties": {"value": {"type": [[1], {}]}}},
            "/extract/properties/value/type",
            "Must be one of null, boolean, integer, number, string, array, object",
        ),
        (
            {"properties": {"a/b": {"$ref": "#/properties/b/maxLength"}, "b": {"maxLength": 3}}},
            "/extract/properties/a~1b/$ref",
            "Must name a schema inside this one",
        ),
        ({"$id": "http://[::1"}, "/extract/$id", "Must be a URI"),
        ({"$ref": "#"}, "/extract", "The schema refers to itself"),
        ({"description": "x" * 20_000}, "/extract", "Must not exceed 20000 bytes"),
        ({"required": ["a"] * 2}, "/extract/required", "Must be a list of different"),
        (
            {
                "$ref": "#/$defs/a0",
                "$defs": {
                    **{f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(30)},
                    "a30": {},
                },
            },
            "/extract",
            "takes too much work",
        ),
    ],
)
def test_an_unusable_schema_is_refused_with_the_place_in_it(
    acme: Tenant, extract: dict[str, object], pointer: str, detail: str
) -> None:
    response = acme.post("/ai-profiles", {"system_prompt": SYSTEM_PROMPT, "extract": extract})

    assert response.status_code == 400
    [error] = response.json["errors"]
    assert error["pointer"] == pointer
    assert detail in error["detail"]


def test_patterns_of_a_schema_are_stored_and_not_compiled(acme: Tenant) -> None:
    extract = {"type": "object", "properties": {"a": {"pattern": "(?i)[!-\uffff]" * 1_200}}}

    assert acme.profile(extract=extract)["extract"] == extract


@pytest.mark.parametrize("model", ["house-model", "other-model", None])
def test_a_profile_accepts_a_model_that_the_deployment_lists(
    acme: Tenant, model: str | None
) -> None:
    profile = acme.profile(model=model)

    assert acme.get(f"/ai-profiles/{profile['id']}").json["model"] == model


@pytest.mark.parametrize("model", ["gpt-unlisted", "House-Model", "house-model ", "*"])
def test_an_unlisted_model_is_rejected_with_its_pointer(acme: Tenant, model: str) -> None:
    profile = acme.profile()

    create_response = acme.post("/ai-profiles", {"system_prompt": SYSTEM_PROMPT, "model": model})
    update_response = acme.patch(f"/ai-profiles/{profile['id']}", {"model": model})

    for response in (create_response, update_response):
        assert response.status_code == 400
        assert [error["pointer"] for error in response.json["errors"]] == ["/model"]
        assert "house-model, other-model" in response.json["errors"][0]["detail"]
    assert acme.get(f"/ai-profiles/{profile['id']}").json["version"] == 1


def test_a_model_removed_from_the_list_does_not_block_other_changes(
    acme: Tenant, app: Flask
) -> None:
    profile = acme.profile(model="house-model")
    app.config["MODELS"] = ()

    response = acme.patch(f"/ai-profiles/{profile['id']}", {"name": "Bella"})

    assert (response.status_code, response.json["model"]) == (200, "house-model")
