"""Tests of number registration at Telnyx, its call application and `flask telnyx setup`."""

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
from tests.support.services import app_services, use_carriers
from vca.kit import json
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers import Carriers
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.types import NumberSetting

SIGNER = Signer()
FAILOVER_URL = "https://fallback.example.com/calls"


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
    """Set up an application with correct settings and return an adapter that uses it."""
    create_adapter(telnyx, SIGNER, telnyx_connection_id="").set_up_application()
    return create_adapter(telnyx, SIGNER)


def patch_bodies(telnyx: TelnyxServer) -> list[Any]:
    return [request.body for request in telnyx.requests if request.method == "PATCH"]


# --- Numbers ------------------------------------------------------------------------------------


def test_registration_sets_application_and_tag_and_preserves_other_tags(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.register_number(ACME, uuid4(), NUMBER)

    number = telnyx.account.numbers[NUMBER]
    assert number["connection_id"] == CONNECTION_ID
    assert number["tags"] == ["front desk", f"vca-tenant:{ACME}"]


def test_a_second_registration_changes_nothing_at_telnyx(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    for _ in range(2):
        adapter.register_number(ACME, uuid4(), NUMBER)

    assert len(patch_bodies(telnyx)) == 1


def test_registration_restores_changed_settings(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.register_number(ACME, uuid4(), NUMBER)
    telnyx.account.numbers[NUMBER]["connection_id"] = "999"

    adapter.register_number(ACME, uuid4(), NUMBER)

    number = telnyx.account.numbers[NUMBER]
    assert number["connection_id"] == CONNECTION_ID
    assert number["tags"] == ["front desk", f"vca-tenant:{ACME}"]


def test_unregistration_removes_only_what_registration_added(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    before = dict(telnyx.account.numbers[NUMBER])
    adapter.register_number(ACME, uuid4(), NUMBER)

    adapter.unregister_number(ACME, uuid4(), NUMBER)

    assert telnyx.account.numbers[NUMBER] == before


def test_unregistration_preserves_an_application_of_others(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.register_number(ACME, uuid4(), NUMBER)
    telnyx.account.numbers[NUMBER]["connection_id"] = "999"

    adapter.unregister_number(ACME, uuid4(), NUMBER)

    number = telnyx.account.numbers[NUMBER]
    assert (number["connection_id"], number["tags"]) == ("999", ["front desk"])


@pytest.mark.parametrize("to", ["+1415555010", "+14155550177"])
def test_a_number_outside_the_account_is_not_registered(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, to: str
) -> None:
    with pytest.raises(TelephonyError) as raised:
        adapter.register_number(ACME, uuid4(), to)

    assert (raised.value.permanent, raised.value.code) == (True, "no-such-number")
    assert patch_bodies(telnyx) == []
    adapter.unregister_number(ACME, uuid4(), to)
    assert adapter.check_number(ACME, uuid4(), to) == ()


def test_a_ported_out_number_is_not_registered(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    telnyx.account.numbers[NUMBER]["status"] = "ported-out"

    with pytest.raises(TelephonyError):
        adapter.register_number(ACME, uuid4(), NUMBER)


# --- Checking -----------------------------------------------------------------------------------


def test_a_check_lists_the_settings_of_number_and_application(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.register_number(ACME, uuid4(), NUMBER)

    number_settings = adapter.check_number(ACME, uuid4(), NUMBER)

    assert {setting.name: setting.actual for setting in number_settings} == {
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
    assert all(setting.agrees for setting in number_settings)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("webhook_event_url", "https://elsewhere.example.com/", "https://elsewhere.example.com/"),
        ("webhook_api_version", "1", "1"),
        ("webhook_timeout_secs", None, None),
        ("first_command_timeout", False, "false"),
        ("first_command_timeout_secs", 30, "30"),
        ("webhook_event_failover_url", FAILOVER_URL, FAILOVER_URL),
        ("active", False, "false"),
    ],
)
def test_a_check_shows_changed_settings_of_the_application(
    telnyx: TelnyxServer, adapter: TelnyxAdapter, field: str, value: Any, expected: str | None
) -> None:
    adapter.register_number(ACME, uuid4(), NUMBER)
    telnyx.account.applications[CONNECTION_ID][field] = value

    number_settings = adapter.check_number(ACME, uuid4(), NUMBER)

    assert [
        (setting.name, setting.actual) for setting in number_settings if not setting.agrees
    ] == [(field, expected)]


def test_a_check_shows_another_tag_and_a_missing_application(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    adapter.register_number(GLOBEX, uuid4(), NUMBER)
    telnyx.account.numbers[NUMBER]["connection_id"] = ""

    number_settings = adapter.check_number(ACME, uuid4(), NUMBER)

    assert number_settings[:2] == (
        NumberSetting("connection_id", CONNECTION_ID, None),
        NumberSetting("tag", f"vca-tenant:{ACME}", f"vca-tenant:{GLOBEX}"),
    )


# --- Application and command --------------------------------------------------------------------


def test_setup_creates_an_application_once(telnyx: TelnyxServer) -> None:
    adapter = create_adapter(telnyx, SIGNER, telnyx_connection_id="")

    setups = [adapter.set_up_application() for _ in range(2)]

    assert [(setup.connection_id, setup.done) for setup in setups] == [
        (CONNECTION_ID, "created"),
        (CONNECTION_ID, "unchanged"),
    ]
    [application] = telnyx.account.applications.values()
    assert application["application_name"] == "VCA voice.example.com"
    assert application["webhook_api_version"] == "2"


def test_setup_repairs_the_configured_application_but_not_its_name(
    telnyx: TelnyxServer, adapter: TelnyxAdapter
) -> None:
    application = telnyx.account.applications[CONNECTION_ID]
    application |= {"application_name": "Front desk", "webhook_api_version": "1"}

    assert adapter.set_up_application().done == "updated"

    assert application["application_name"] == "Front desk"
    assert application["webhook_api_version"] == "2"
    assert adapter.set_up_application().done == "unchanged"


def test_setup_requires_a_public_base_url(telnyx: TelnyxServer) -> None:
    adapter = create_adapter(telnyx, SIGNER, public_base_url="", telnyx_connection_id="")

    with pytest.raises(TelephonyError, match="PUBLIC_BASE_URL"):
        adapter.set_up_application()

    assert telnyx.account.applications == {}


def _register_adapter(app: Flask, adapter: TelnyxAdapter) -> None:
    use_carriers(Carriers(app_services().settings)).register(adapter)


def _run_telnyx(app: Flask, *arguments: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(args=["telnyx", *arguments])
    return result.exit_code, result.output


def test_the_command_prints_the_connection_id_as_a_setting(
    app: Flask, telnyx: TelnyxServer
) -> None:
    _register_adapter(app, create_adapter(telnyx, SIGNER, telnyx_connection_id=""))

    first, second = _run_telnyx(app, "setup"), _run_telnyx(app, "setup", "--json")

    assert first == (
        0,
        f"VCA voice.example.com is created.\nTELNYX_CONNECTION_ID={CONNECTION_ID}\n",
    )
    assert json.loads(second[1]) == {
        "connection_id": CONNECTION_ID,
        "name": "VCA voice.example.com",
        "done": "unchanged",
    }


def test_the_command_prints_an_error_in_one_sentence(app: Flask, telnyx: TelnyxServer) -> None:
    use_carriers(Carriers(app_services().settings))
    without_keys = _run_telnyx(app, "setup")
    _register_adapter(app, create_adapter(telnyx, SIGNER, telnyx_api_key="KEY-of-somebody-else"))
    with_wrong_key = _run_telnyx(app, "setup")

    assert without_keys == (1, "Error: TELNYX_API_KEY and TELNYX_PUBLIC_KEY are not set.\n")
    assert with_wrong_key == (1, "Error: Telnyx returned 401: Authentication failed.\n")
