"""`flask telephony`: what carriers hold, registering anew, and what callers get without VCA."""

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.support.accounts import create_account, requested_operations
from tests.support.factories import Factory, Tenant, fresh_number
from vca.kit import json
from vca.registry.number_registry import claimed_numbers
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter


def _run(app: Flask, *arguments: object) -> Any:
    return app.test_cli_runner().invoke(args=["telephony", *map(str, arguments)])


def _told(app: Flask, *arguments: object, status: int = 0) -> Any:
    result = _run(app, *arguments, "--json")
    assert result.exit_code == status, result.output
    return json.loads(result.stdout.encode())


@pytest.fixture
def number(acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter) -> dict[str, Any]:
    """A number of acme's that is registered."""
    number = acme.number()
    world.run_jobs(acme)
    return number


# --- check ----------------------------------------------------------------------------------------


def test_what_agrees_is_counted_and_what_does_not_is_named(
    app: Flask, acme: Tenant, world: Factory, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    own = create_account(acme)
    second = acme.number(**own.number_fields)
    world.run_jobs(acme)
    good = _told(app, "check", "--tenant", acme.id)
    own.carrier.registered_numbers.clear()

    bad = _told(app, "check", "--tenant", acme.id, status=1)

    assert good == {"checked": 2, "wrong": []}
    assert bad["checked"] == 2
    [wrong] = bad["wrong"]
    assert (wrong["did_number"], wrong["tenant_id"]) == (second["did_number"], acme.id)
    assert "owner" in wrong["found"]
    assert own.carrier.registered_numbers == {}
    assert acme.get(f"/phone-numbers/{second['id']}").json["registration"]["status"] == "registered"


def test_what_could_not_be_asked_is_wrong_too(
    app: Flask, acme: Tenant, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    carrier.fail_next(TelephonyError("the carrier is away", permanent=False))

    result = _run(app, "check", "--tenant", acme.id)

    assert result.exit_code == 1
    assert number["did_number"] in result.output
    assert "not checked: the carrier is away" in result.output


def test_a_number_that_is_not_registered_is_not_asked_about(
    app: Flask, acme: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    acme.number()

    assert _told(app, "check", "--tenant", acme.id) == {"checked": 0, "wrong": []}
    assert requested_operations(carrier) == []


# --- reregister -----------------------------------------------------------------------------------


def test_every_active_number_of_a_tenant_is_registered_anew_and_no_other(
    app: Flask,
    acme: Tenant,
    globex: Tenant,
    world: Factory,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    own = create_account(acme)
    acme.number(**own.number_fields)
    acme.number(is_active=False)
    globex.number()
    for tenant in (acme, globex):
        world.run_jobs(tenant)
    carrier.operations.clear()
    own.carrier.operations.clear()

    told = _told(app, "reregister", "--tenant", acme.id)
    world.run_jobs(acme)

    assert told == {"ordered": 3}
    assert requested_operations(carrier) == requested_operations(own.carrier) == ["register_number"]
    assert world.run_jobs(globex) == []


def test_all_tenants_numbers_are_ordered_in_batches(
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

    ordered = _told(app, "reregister", "--all")["ordered"]
    for tenant in (acme, globex):
        world.run_jobs(tenant)

    assert ordered >= 5
    assert requested_operations(carrier) == ["register_number"] * 5


@pytest.mark.parametrize("arguments", [(), ("--all", "--tenant")])
def test_somebody_must_be_named(app: Flask, acme: Tenant, arguments: tuple[str, ...]) -> None:
    named = (*arguments, acme.id) if arguments else arguments

    assert _run(app, "reregister", *named).exit_code == 2


# --- render-fallbacks -----------------------------------------------------------------------------


def test_each_number_has_a_document_in_its_carriers_words(
    app: Flask, acme: Tenant, globex: Tenant, carrier: FakeTelephonyAdapter, tmp_path: Path
) -> None:
    reserve = fresh_number()
    acme.patch("/settings", {"sentences": {"fallback": "Call again."}})
    plain = acme.number()
    forwarded = acme.number(fallback_number=reserve, **create_account(acme).number_fields)
    theirs = globex.number()
    given_back = acme.number()
    acme.delete(f"/phone-numbers/{given_back['id']}")

    told = _told(app, "render-fallbacks", tmp_path / "out")

    written = {path.name: path for path in (tmp_path / "out" / "fake").iterdir()}
    assert told["written"] >= 3

    def said(number: dict[str, Any]) -> list[dict[str, Any]]:
        name = f"{number['did_number'].lstrip('+')}.json"
        found: list[dict[str, Any]] = json.loads(written[name].read_bytes())["actions"]
        return found

    assert said(plain)[0]["text"] == "Call again."
    assert [each["type"] for each in said(plain)] == ["say", "hang_up"]
    assert said(forwarded) == [{"type": "forward", "number": reserve}]
    assert said(theirs)[0]["type"] == "say"
    assert f"{given_back['did_number'].lstrip('+')}.json" not in written
    assert not [name for name in written if name.endswith(".part")]


def test_a_second_run_writes_over_the_first(
    app: Flask, acme: Tenant, number: dict[str, Any], tmp_path: Path
) -> None:
    place = tmp_path / "fake" / f"{number['did_number'].lstrip('+')}.json"
    _told(app, "render-fallbacks", tmp_path)
    before = place.read_bytes()
    acme.patch(f"/phone-numbers/{number['id']}", {"fallback_number": fresh_number()})

    _told(app, "render-fallbacks", tmp_path)

    assert place.read_bytes() != before


def test_the_operator_is_told_where_nobody_serves_them(
    app: Flask, acme: Tenant, number: dict[str, Any], tmp_path: Path
) -> None:
    assert "CARRIER_FALLBACK_URL is empty" in _run(app, "render-fallbacks", tmp_path).output
