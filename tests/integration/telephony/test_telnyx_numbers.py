"""Numbers at Telnyx, the application that their calls come through, and `flask telnyx setup`."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from tests.contract.suites.telephony import ACME, GLOBEX
from tests.fakes.carriers.telnyx.accounts import BASE_URL, NUMBER, create_adapter, new_account
from tests.fakes.carriers.telnyx.calls import CONNECTION_ID
from tests.fakes.carriers.telnyx.server import TelnyxServer, telnyx_server
from tests.fakes.carriers.telnyx.signing import Signer
from vca.kit import json
from vca.telephony import providers
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers import Carriers
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.types import NumberSetting

SIGNER = Signer()
ELSEWHERE = "https://fallback.example.com/calls"


@pytest.fixture(scope="module")
def server() -> Iterator[TelnyxServer]:
    with telnyx_server() as server:
        yield server


@pytest.fixture
def telnyx(server: TelnyxServer) -> Iterator[TelnyxServer]:
    with new_account(server):
        yield server


@pytest.fixture
def adapter(telnyx: TelnyxServer) -> TelnyxAdapter:
    """With an application that is as it should be."""
    create_adapter(telnyx, SIGNER, telnyx_connection_id="").set_up_application()
    return create_adapter(telnyx, SIGNER)


def changes(telnyx: TelnyxServer) -> list[Any]:
    return [asked.body for asked in telnyx.requests if asked.method == "PATCH"]


# --- Numbers ------------------------------------------------------------------------------------


def test_registering_points_and_tags_a_number_and_leaves_what_others_tagged(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.register_number(ACME, uuid4(), NUMBER)

    number = telnyx.account.numbers[NUMBER]
    assert number["connection_id"] == CONNECTION_ID
    assert number["tags"] == ["front desk", f"vca-tenant:{ACME}"]


def test_registering_again_changes_nothing_at_telnyx(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    for _ in range(2):
        adapter.register_number(ACME, uuid4(), NUMBER)

    assert len(changes(telnyx)) == 1


def test_registering_sets_right_what_was_changed_since(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.register_number(ACME, uuid4(), NUMBER)
    telnyx.account.numbers[NUMBER]["connection_id"] = "999"

    adapter.register_number(ACME, uuid4(), NUMBER)

    number = telnyx.account.numbers[NUMBER]
    assert number["connection_id"] == CONNECTION_ID
    assert number["tags"] == ["front desk", f"vca-tenant:{ACME}"]


def test_unregistering_takes_away_what_registering_gave_and_no_more(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    before = dict(telnyx.account.numbers[NUMBER])
    adapter.register_number(ACME, uuid4(), NUMBER)

    adapter.unregister_number(ACME, uuid4(), NUMBER)

    assert telnyx.account.numbers[NUMBER] == before


def test_unregistering_leaves_an_application_that_is_not_ours(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.register_number(ACME, uuid4(), NUMBER)
    telnyx.account.numbers[NUMBER]["connection_id"] = "999"

    adapter.unregister_number(ACME, uuid4(), NUMBER)

    number = telnyx.account.numbers[NUMBER]
    assert (number["connection_id"], number["tags"]) == ("999", ["front desk"])


@pytest.mark.parametrize("to", ["+1415555010", "+14155550177"])
def test_a_number_that_the_account_does_not_have_is_not_registered(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, to: str
) -> None:
    with pytest.raises(TelephonyError) as raised:
        adapter.register_number(ACME, uuid4(), to)

    assert (raised.value.permanent, raised.value.code) == (True, "no-such-number")
    assert changes(telnyx) == []
    adapter.unregister_number(ACME, uuid4(), to)
    assert adapter.check_number(ACME, uuid4(), to) == ()


def test_a_number_that_has_left_the_account_is_none(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    telnyx.account.numbers[NUMBER]["status"] = "ported-out"

    with pytest.raises(TelephonyError):
        adapter.register_number(ACME, uuid4(), NUMBER)


# --- Checking -----------------------------------------------------------------------------------


def test_checking_shows_number_and_application_field_by_field(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.register_number(ACME, uuid4(), NUMBER)

    held = adapter.check_number(ACME, uuid4(), NUMBER)

    assert {field.name: field.actual for field in held} == {
        "connection_id": CONNECTION_ID,
        "tag": f"vca-tenant:{ACME}",
        "active": "true",
        "webhook_event_url": f"{BASE_URL}/telephony/telnyx/events",
        "webhook_event_failover_url": None,
        "webhook_api_version": "2",
        "webhook_timeout_secs": "25",
        "first_command_timeout": "true",
        "first_command_timeout_secs": "15",
    }
    assert all(field.agrees for field in held)


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("webhook_event_url", "https://elsewhere.example.com/", "https://elsewhere.example.com/"),
        ("webhook_api_version", "1", "1"),
        ("webhook_timeout_secs", None, None),
        ("first_command_timeout", False, "false"),
        ("first_command_timeout_secs", 30, "30"),
        ("webhook_event_failover_url", ELSEWHERE, ELSEWHERE),
        ("active", False, "false"),
    ],
)
def test_checking_shows_an_application_that_somebody_has_changed(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, field: str, value: Any, shown: str | None
) -> None:
    adapter.register_number(ACME, uuid4(), NUMBER)
    telnyx.account.applications[CONNECTION_ID][field] = value

    held = adapter.check_number(ACME, uuid4(), NUMBER)

    assert [(each.name, each.actual) for each in held if not each.agrees] == [(field, shown)]


def test_checking_shows_another_tenants_tag_and_another_application(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.register_number(GLOBEX, uuid4(), NUMBER)
    telnyx.account.numbers[NUMBER]["connection_id"] = ""

    held = adapter.check_number(ACME, uuid4(), NUMBER)

    assert held[:2] == (
        NumberSetting("connection_id", CONNECTION_ID, None),
        NumberSetting("tag", f"vca-tenant:{ACME}", f"vca-tenant:{GLOBEX}"),
    )


# --- The application ----------------------------------------------------------------------------


def test_setting_up_makes_an_application_and_finds_it_again(telnyx: TelnyxServer) -> None:
    adapter = create_adapter(telnyx, SIGNER, telnyx_connection_id="")

    made = [adapter.set_up_application() for _ in range(2)]

    assert [(each.connection_id, each.done) for each in made] == [
        (CONNECTION_ID, "created"),
        (CONNECTION_ID, "unchanged"),
    ]
    [application] = telnyx.account.applications.values()
    assert application["application_name"] == "VCA voice.example.com"
    assert application["webhook_api_version"] == "2"


def test_setting_up_mends_the_configured_application_and_keeps_its_name(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    application = telnyx.account.applications[CONNECTION_ID]
    application |= {"application_name": "Front desk", "webhook_api_version": "1"}

    assert adapter.set_up_application().done == "updated"

    assert application["application_name"] == "Front desk"
    assert application["webhook_api_version"] == "2"
    assert adapter.set_up_application().done == "unchanged"


def test_setting_up_needs_an_address_of_ours(telnyx: TelnyxServer) -> None:
    adapter = create_adapter(telnyx, SIGNER, public_base_url="", telnyx_connection_id="")

    with pytest.raises(TelephonyError, match="PUBLIC_BASE_URL"):
        adapter.set_up_application()

    assert telnyx.account.applications == {}


def _use(app: Flask, adapter: TelnyxAdapter) -> None:
    providers.set_current_carriers(Carriers(app.extensions["settings"])).register(adapter)


def _run(app: Flask, *words: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(args=["telnyx", *words])
    return result.exit_code, result.output


def test_the_command_prints_what_goes_into_the_settings(app: Flask, telnyx: TelnyxServer) -> None:
    _use(app, create_adapter(telnyx, SIGNER, telnyx_connection_id=""))

    first, again = _run(app, "setup"), _run(app, "setup", "--json")

    assert first == (
        0,
        f"VCA voice.example.com is created.\nTELNYX_CONNECTION_ID={CONNECTION_ID}\n",
    )
    assert json.loads(again[1]) == {
        "connection_id": CONNECTION_ID,
        "name": "VCA voice.example.com",
        "done": "unchanged",
    }


def test_the_command_says_in_a_sentence_what_is_missing_or_refused(
    app: Flask, telnyx: TelnyxServer
) -> None:
    providers.set_current_carriers(Carriers(app.extensions["settings"]))
    missing = _run(app, "setup")
    _use(app, create_adapter(telnyx, SIGNER, telnyx_api_key="KEY-of-somebody-else"))
    refused = _run(app, "setup")

    assert missing == (1, "Error: TELNYX_API_KEY and TELNYX_PUBLIC_KEY are not set.\n")
    assert refused == (1, "Error: Telnyx returned 401: Authentication failed.\n")
