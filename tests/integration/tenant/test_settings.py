"""Settings: what a tenant's callers hear, and in which zone it lives."""

import pytest

from tests.support.factories import Tenant


def test_a_new_tenant_has_sentences_for_every_case(acme: Tenant) -> None:
    settings = acme.get("/settings").json

    assert settings["time_zone"] == "UTC"
    assert set(settings["sentences"]) == {"over_limit", "suspended", "closed", "fallback"}
    assert all(settings["sentences"].values())


def test_a_sentence_is_changed_and_given_back(acme: Tenant, globex: Tenant) -> None:
    default = acme.get("/settings").json["sentences"]["closed"]

    changed = acme.patch("/settings", {"sentences": {"closed": "Back at nine."}}).json
    other = acme.patch("/settings", {"sentences": {"fallback": "Oh."}}).json
    back = acme.patch("/settings", {"sentences": {"closed": None}}).json

    assert changed["sentences"]["closed"] == "Back at nine."
    assert other["sentences"]["closed"] == "Back at nine."
    assert back["sentences"]["closed"] == default
    assert back["sentences"]["fallback"] == "Oh."
    assert globex.get("/settings").json["sentences"]["fallback"] != "Oh."


def test_a_new_tenant_has_the_defaults_of_everything_else(acme: Tenant) -> None:
    settings = acme.get("/settings").json

    assert settings["hours"] is None
    assert settings["home_country"] is None
    assert settings["variables"] == {}
    assert settings["notification_email"] is None
    assert settings["dial_policy"] == {"countries": None, "per_minute": 10, "per_day": 200}
    nothing = dict.fromkeys(("transcripts", "recordings", "payloads"))
    assert settings["retention_days"] == nothing


@pytest.mark.parametrize(
    ("name", "first", "second", "both"),
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
def test_what_is_left_out_of_a_document_stays_and_null_is_the_default(
    acme: Tenant, globex: Tenant, name: str, first: object, second: object, both: object
) -> None:
    untouched = globex.get("/settings").json[name]

    acme.patch("/settings", {name: first})
    changed = acme.patch("/settings", {name: second})
    acme.patch("/settings", {"time_zone": "Asia/Tokyo", name: {}})

    assert changed.json[name] == both
    assert acme.get("/settings").json[name] == both
    assert globex.get("/settings").json[name] == untouched


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("home_country", "DE"),
        ("notification_email", "office@example.com"),
        ("hours", {"weekly": {"monday": []}}),
    ],
)
def test_a_single_setting_is_set_and_taken_back(acme: Tenant, name: str, value: object) -> None:
    assert acme.patch("/settings", {name: value}).json[name] == value
    assert acme.patch("/settings", {}).json[name] == value
    assert acme.patch("/settings", {name: None}).json[name] is None


def test_there_are_fifty_variables_altogether(acme: Tenant) -> None:
    acme.patch("/settings", {"variables": {f"a{number}": "x" for number in range(50)}})

    one_more = acme.patch("/settings", {"variables": {"b": "x"}})
    in_exchange = acme.patch("/settings", {"variables": {"a7": None, "b": "x"}})

    assert one_more.status_code == 400
    assert one_more.json["errors"][0]["pointer"] == "/variables"
    assert len(in_exchange.json["variables"]) == 50


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
        ({"notification_email": "a@example.com\nBcc: b@example.com"}, "/notification_email"),
        ({"spend_cap": {"amount": 1}}, "/spend_cap"),
        ({"time_zone": "Mars/Base"}, "/time_zone"),
        ({"time_zone": None}, "/time_zone"),
        ({"sentences": {"closed": " "}}, "/sentences/closed"),
        ({"sentences": {"hello": "Hi"}}, "/sentences/hello"),
        ({"sentences": []}, "/sentences"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_a_bad_setting_is_named(acme: Tenant, body: object, pointer: str) -> None:
    refused = acme.patch("/settings", body)

    assert refused.status_code == 400
    assert refused.json["errors"][0]["pointer"] == pointer
