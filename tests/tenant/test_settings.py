"""Settings: what a tenant's callers hear, and in which zone it lives."""

import pytest

from tests.support.world import Tenant


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


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
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
