"""Tests of a tenant's settings: defaults, partial updates and validation."""

import pytest

from tests.support.factories import Tenant


def test_a_new_tenant_has_all_default_sentences(acme: Tenant) -> None:
    settings = acme.get("/settings").json

    assert settings["time_zone"] == "UTC"
    assert set(settings["sentences"]) == {"over_limit", "suspended", "closed", "fallback"}
    assert all(settings["sentences"].values())


def test_a_sentence_is_changed_and_reset(acme: Tenant, globex: Tenant) -> None:
    default = acme.get("/settings").json["sentences"]["closed"]

    changed = acme.patch("/settings", {"sentences": {"closed": "Back at nine."}}).json
    after_other_change = acme.patch("/settings", {"sentences": {"fallback": "Oh."}}).json
    after_reset = acme.patch("/settings", {"sentences": {"closed": None}}).json

    assert changed["sentences"]["closed"] == "Back at nine."
    assert after_other_change["sentences"]["closed"] == "Back at nine."
    assert after_reset["sentences"]["closed"] == default
    assert after_reset["sentences"]["fallback"] == "Oh."
    assert globex.get("/settings").json["sentences"]["fallback"] != "Oh."


def test_a_new_tenant_has_defaults_for_all_other_settings(acme: Tenant) -> None:
    settings = acme.get("/settings").json

    assert settings["hours"] is None
    assert settings["home_country"] is None
    assert settings["variables"] == {}
    assert settings["notification_email"] is None
    assert settings["dial_policy"] == {"countries": None, "per_minute": 10, "per_day": 200}
    no_limits = dict.fromkeys(("transcripts", "recordings", "payloads"))
    assert settings["retention_days"] == no_limits


@pytest.mark.parametrize(
    ("name", "first", "second", "merged"),
    [
        (
            "dial_policy",
            {"countries": ["US", "GB"], "per_minute": 1},
            {"countries": None, "per_day": 7},
            {"countries": None, "per_minute": 1, "per_day": 7},
        ),
        (
            "retention_days",
            {"transcripts": 30, "recordings": 1},
            {"transcripts": 3650, "recordings": None},
            {"transcripts": 3650, "recordings": None, "payloads": None},
        ),
        (
            "variables",
            {"company": "Acme", "street": "Main"},
            {"company": None, "town": ""},
            {"street": "Main", "town": ""},
        ),
        (
            "hours",
            {"holidays": [{"date": "2026-12-25"}], "closed_action": "forward"},
            {"weekly": {"monday": []}, "closed_action": None},
            {"holidays": [{"date": "2026-12-25"}], "weekly": {"monday": []}},
        ),
    ],
)
def test_an_update_merges_objects_and_null_resets_a_field(
    acme: Tenant, globex: Tenant, name: str, first: object, second: object, merged: object
) -> None:
    globex_value = globex.get("/settings").json[name]

    acme.patch("/settings", {name: first})
    response = acme.patch("/settings", {name: second})
    acme.patch("/settings", {"time_zone": "Asia/Tokyo", name: {}})

    assert response.json[name] == merged
    assert acme.get("/settings").json[name] == merged
    assert globex.get("/settings").json[name] == globex_value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("home_country", "DE"),
        ("notification_email", "office@example.com"),
        ("notification_email", "office@münchen.de"),
        ("hours", {"weekly": {"monday": []}}),
    ],
)
def test_a_single_setting_is_set_and_reset(acme: Tenant, name: str, value: object) -> None:
    assert acme.patch("/settings", {name: value}).json[name] == value
    assert acme.patch("/settings", {}).json[name] == value
    assert acme.patch("/settings", {name: None}).json[name] is None


def test_a_tenant_can_have_at_most_fifty_variables(acme: Tenant) -> None:
    acme.patch("/settings", {"variables": {f"a{number}": "x" for number in range(50)}})

    addition = acme.patch("/settings", {"variables": {"b": "x"}})
    replacement = acme.patch("/settings", {"variables": {"a7": None, "b": "x"}})

    assert addition.status_code == 400
    assert addition.json["errors"][0]["pointer"] == "/variables"
    assert len(replacement.json["variables"]) == 50


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"home_country": "de"}, "/home_country"),
        ({"home_country": "ZZ"}, "/home_country"),
        ({"dial_policy": None}, "/dial_policy"),
        ({"dial_policy": {"countries": ["US", "Germany"]}}, "/dial_policy/countries/1"),
        ({"dial_policy": {"per_minute": 0}}, "/dial_policy/per_minute"),
        ({"dial_policy": {"per_minute": 1_001}}, "/dial_policy/per_minute"),
        ({"dial_policy": {"per_day": 100_001}}, "/dial_policy/per_day"),
        ({"dial_policy": {"per_hour": 1}}, "/dial_policy/per_hour"),
        ({"retention_days": {"transcripts": 0}}, "/retention_days/transcripts"),
        ({"retention_days": {"recordings": 3_651}}, "/retention_days/recordings"),
        ({"retention_days": {"transcripts": 1.5}}, "/retention_days/transcripts"),
        ({"retention_days": {"payloads": 0}}, "/retention_days/payloads"),
        ({"retention_days": {"events": 1}}, "/retention_days/events"),
        ({"variables": {"Company": "x"}}, "/variables/Company"),
        ({"variables": {"9": "x"}}, "/variables/9"),
        ({"variables": {"a" * 41: "x"}}, "/variables/" + "a" * 41),
        ({"variables": {"company\n": "x"}}, "/variables/company"),
        ({"variables": {"company": "x" * 501}}, "/variables/company"),
        ({"variables": {"company": 1}}, "/variables/company"),
        ({"notification_email": "office"}, "/notification_email"),
        ({"notification_email": "büro@example.com"}, "/notification_email"),
        ({"notification_email": "office@münchen"}, "/notification_email"),
        ({"notification_email": "a@example.com\nBcc: b@example.com"}, "/notification_email"),
        ({"spend_cap": {"amount": 1}}, "/spend_cap"),
        ({"time_zone": "Mars/Base"}, "/time_zone"),
        ({"time_zone": "Factory"}, "/time_zone"),
        ({"time_zone": "localtime"}, "/time_zone"),
        ({"time_zone": None}, "/time_zone"),
        ({"sentences": {"closed": " "}}, "/sentences/closed"),
        ({"sentences": {"closed": "\u200b\u2060"}}, "/sentences/closed"),
        ({"sentences": {"hello": "Hi"}}, "/sentences/hello"),
        ({"sentences": []}, "/sentences"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_an_invalid_setting_is_named(acme: Tenant, body: object, pointer: str) -> None:
    response = acme.patch("/settings", body)

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == pointer
