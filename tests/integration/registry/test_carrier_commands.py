"""Tests of the `flask telephony` commands, which check, re-register and render phone numbers."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from tests.support.accounts import create_account, requested_operations
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import add_number_ranges, app_services
from vca.kit import json
from vca.registry.number_registry import claimed_numbers
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import NumberSetting


def _run(app: Flask, *arguments: object) -> Result:
    return app.test_cli_runner().invoke(args=["telephony", *map(str, arguments)])


def _run_json(app: Flask, *arguments: object, exit_code: int = 0) -> Any:
    result = _run(app, *arguments, "--json")
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout.encode())


@pytest.fixture
def number(acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter) -> dict[str, Any]:
    """Return a registered number of acme."""
    number = acme.number()
    world.run_jobs(acme)
    return number


def test_check_counts_numbers_and_lists_those_with_drift(
    app: Flask, acme: Tenant, world: Factory, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    account = create_account(acme)
    second = acme.number(**account.number_fields)
    world.run_jobs(acme)
    before = _run_json(app, "check", "--tenant", acme.id)
    account.carrier.registered_numbers.clear()

    after = _run_json(app, "check", "--tenant", acme.id, exit_code=1)

    assert before == {"checked": 2, "wrong": []}
    assert after["checked"] == 2
    [wrong] = after["wrong"]
    assert (wrong["did_number"], wrong["tenant_id"]) == (second["did_number"], acme.id)
    assert "owner" in wrong["found"]
    assert account.carrier.registered_numbers == {}
    assert acme.get(f"/phone-numbers/{second['id']}").json["registration"]["status"] == "registered"


class _UnfitCarrier(FakeTelephonyAdapter):
    """A carrier whose account is not set up for browsers."""

    def check_webrtc(self) -> tuple[NumberSetting, ...]:
        return (NumberSetting("parking", "true", "false"), NumberSetting("url", "a", "a"))


def test_check_reports_what_keeps_browsers_from_calling(
    app: Flask, acme: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    app_services().carriers.register(_UnfitCarrier())

    output = _run_json(app, "check", "--tenant", acme.id, exit_code=1)

    assert output["browsers"] == ["fake: parking is false, not true"]


def test_check_fails_when_the_carrier_is_unreachable(
    app: Flask, acme: Tenant, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("the carrier is away", permanent=False))

    result = _run(app, "check", "--tenant", acme.id)

    assert result.exit_code == 1
    assert number["did_number"] in result.output
    assert "not checked: the carrier is away" in result.output


def test_check_prints_the_added_number_ranges(app: Flask, acme: Tenant) -> None:
    add_number_ranges("+1924=US,+1837=CA")

    result = _run(app, "check", "--tenant", acme.id)
    document = _run_json(app, "check", "--tenant", acme.id)

    assert "DIALLABLE_PREFIXES adds +1924=US, +1837=CA." in result.stdout
    assert document["diallable_prefixes"] == ["+1924=US", "+1837=CA"]


def test_check_ignores_unregistered_numbers(
    app: Flask, acme: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    acme.number()

    assert _run_json(app, "check", "--tenant", acme.id) == {"checked": 0, "wrong": []}
    assert requested_operations(carrier) == []


def test_reregister_with_a_tenant_registers_only_its_active_numbers(
    app: Flask,
    acme: Tenant,
    globex: Tenant,
    world: Factory,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    account = create_account(acme)
    acme.number(**account.number_fields)
    acme.number(is_active=False)
    globex.number()
    for tenant in (acme, globex):
        world.run_jobs(tenant)
    carrier.operations.clear()
    account.carrier.operations.clear()

    output = _run_json(app, "reregister", "--tenant", acme.id)
    world.run_jobs(acme)

    assert output == {"ordered": 3}
    assert (
        requested_operations(carrier)
        == requested_operations(account.carrier)
        == ["register_number"]
    )
    assert world.run_jobs(globex) == []


def test_reregister_with_all_registers_the_numbers_of_all_tenants_in_batches(
    app: Flask,
    acme: Tenant,
    globex: Tenant,
    world: Factory,
    carrier: FakeTelephonyAdapter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claimed_numbers, "_BATCH_SIZE", 2)
    for tenant in (acme, acme, globex, globex, globex):
        tenant.number()
    for tenant in (acme, globex):
        world.run_jobs(tenant)
    carrier.operations.clear()

    ordered_count = _run_json(app, "reregister", "--all")["ordered"]
    for tenant in (acme, globex):
        world.run_jobs(tenant)

    assert ordered_count >= 5
    assert requested_operations(carrier) == ["register_number"] * 5


@pytest.mark.parametrize("arguments", [(), ("--all", "--tenant")])
def test_reregister_requires_exactly_one_of_tenant_and_all(
    app: Flask, acme: Tenant, arguments: tuple[str, ...]
) -> None:
    all_arguments = (*arguments, acme.id) if arguments else arguments

    assert _run(app, "reregister", *all_arguments).exit_code == 2


def test_render_fallbacks_writes_a_file_for_each_claimed_number(
    app: Flask, acme: Tenant, globex: Tenant, carrier: FakeTelephonyAdapter, tmp_path: Path
) -> None:
    fallback_number = fresh_number()
    acme.patch("/settings", {"sentences": {"fallback": "Call again."}})
    plain = acme.number()
    forwarded = acme.number(fallback_number=fallback_number, **create_account(acme).number_fields)
    foreign_number = globex.number()
    released = acme.number()
    acme.delete(f"/phone-numbers/{released['id']}")

    output = _run_json(app, "render-fallbacks", tmp_path / "out")

    files = {path.name: path for path in (tmp_path / "out" / "fake").iterdir()}
    assert output["written"] >= 3

    def rendered_actions(number: dict[str, Any]) -> list[dict[str, Any]]:
        name = f"{number['did_number'].lstrip('+')}.json"
        actions: list[dict[str, Any]] = json.loads(files[name].read_bytes())["actions"]
        return actions

    assert rendered_actions(plain)[0]["text"] == "Call again."
    assert [action["type"] for action in rendered_actions(plain)] == ["say", "hang_up"]
    assert rendered_actions(forwarded) == [{"type": "forward", "number": fallback_number}]
    assert rendered_actions(foreign_number)[0]["type"] == "say"
    assert f"{released['did_number'].lstrip('+')}.json" not in files
    assert not [name for name in files if name.endswith(".part")]


def test_render_fallbacks_overwrites_files_of_an_earlier_run(
    app: Flask, acme: Tenant, number: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "fake" / f"{number['did_number'].lstrip('+')}.json"
    _run_json(app, "render-fallbacks", tmp_path)
    before = path.read_bytes()
    acme.patch(f"/phone-numbers/{number['id']}", {"fallback_number": fresh_number()})

    _run_json(app, "render-fallbacks", tmp_path)

    assert path.read_bytes() != before


def test_render_fallbacks_warns_when_the_fallback_url_is_empty(
    app: Flask, acme: Tenant, number: dict[str, Any], tmp_path: Path
) -> None:
    assert "CARRIER_FALLBACK_URL is empty" in _run(app, "render-fallbacks", tmp_path).output
