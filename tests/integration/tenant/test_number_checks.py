"""Checks of a number's settings at its carrier.

A check runs on request, every day to detect drift, and as a proof when a tenant claims a number.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any, ClassVar
from uuid import UUID

import pytest
from flask import Flask

from tests.support.accounts import OwnAccount, create_account, requested_operations
from tests.support.api import ApiResponse
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.services import app_services, use_carriers
from vca.kit import clock
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import NumberSetting
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers import drift
from vca.tenant.phone_numbers.drift import CHECK_JOB
from vca.tenant.phone_numbers.models import PhoneNumber

_suffixes = count(1_000)


class NumberSettingsCarrier(FakeTelephonyAdapter):
    """A fake carrier with `number_settings` for every number; empty: it has no such number."""

    number_settings: ClassVar[tuple[NumberSetting, ...]] = ()

    def check_number(
        self, tenant_id: UUID, phone_number_id: UUID, did_number: str
    ) -> tuple[NumberSetting, ...]:
        super().check_number(tenant_id, phone_number_id, did_number)
        return self.number_settings


@pytest.fixture
def number_settings_carrier(
    app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> type[NumberSettingsCarrier]:
    """Install a carrier without any number as the deployment's carrier, and return its class."""
    adapter = NumberSettingsCarrier(f"fake-carrier|{settings.secret_key}")
    use_carriers(providers.Carriers(settings)).register(adapter)
    monkeypatch.setattr(NumberSettingsCarrier, "number_settings", ())
    return NumberSettingsCarrier


def _check_number(tenant: Tenant, number: dict[str, Any]) -> ApiResponse:
    return tenant.post(f"/phone-numbers/{number['id']}/check")


def _registration(tenant: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    registration: dict[str, Any] = tenant.get(f"/phone-numbers/{number['id']}").json["registration"]
    return registration


def _run_daily_checks(world: Factory, tenant: Tenant) -> list[str]:
    world.make_due(tenant, CHECK_JOB)
    return world.run_jobs(tenant)


# Checks on request


def test_a_check_compares_each_field_with_the_carriers_value(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    before = _check_number(acme, number).json
    world.run_jobs(acme)

    after = _check_number(acme, number).json

    owner = {"name": "owner", "wanted": acme.id}
    assert before["fields"] == [{**owner, "found": None, "agrees": False}]
    assert after["fields"] == [{**owner, "found": acme.id, "agrees": True}]
    assert (before["agrees"], after["agrees"]) == (False, True)
    assert after["provider_type"] == "fake"
    assert after["checked_at"] is not None


def test_a_number_that_the_carrier_does_not_have_does_not_agree(
    acme: Tenant, number_settings_carrier: type[NumberSettingsCarrier]
) -> None:
    response = _check_number(acme, acme.number())

    assert response.status_code == 200
    assert (response.json["agrees"], response.json["fields"]) == (False, [])


def test_a_check_changes_nothing(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    before = acme.get(f"/phone-numbers/{number['id']}").json
    carrier.registered_numbers.clear()

    _check_number(acme, number)

    assert acme.get(f"/phone-numbers/{number['id']}").json == before
    assert world.run_jobs(acme) == []
    assert carrier.registered_numbers == {}


def test_a_check_returns_502_if_the_carrier_fails_and_409_without_one(
    acme: Tenant, globex: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    carrier.fail_next(TelephonyError("away", permanent=False))

    failed = _check_number(acme, number)
    app_services().carriers.default = None
    unconfigured = _check_number(acme, number)

    assert (failed.status_code, failed.json["code"]) == (502, "carrier-failed")
    assert (unconfigured.status_code, unconfigured.json["code"]) == (409, "carrier-not-configured")
    assert _check_number(globex, number).status_code == 404


def test_a_number_on_an_account_is_checked_at_that_account(
    acme: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    own_account = create_account(acme)

    _check_number(acme, acme.number(**own_account.number_fields))

    assert requested_operations(own_account.carrier) == ["check_number"]
    assert requested_operations(carrier) == []


# Daily checks


def test_a_registered_number_is_checked_every_day(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    registered_at = _registration(acme, number)["checked_at"]

    for _ in range(3):
        assert _run_daily_checks(world, acme) == [CHECK_JOB]

    assert requested_operations(carrier) == ["register_number", *["check_number"] * 3]
    assert _registration(acme, number)["status"] == "registered"
    assert _registration(acme, number)["checked_at"] > registered_at


def test_drift_is_reported_and_not_repaired(
    acme: Tenant, world: Factory, platform: Platform, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    carrier.registered_numbers.clear()

    assert _run_daily_checks(world, acme) == [CHECK_JOB]

    registration = _registration(acme, number)
    assert (registration["status"], registration["code"]) == ("failed", "drifted")
    assert "owner" in registration["detail"]
    assert registration["next_attempt_at"] is None
    events = acme.get("/events", type="phone_number.failed").json
    assert [event["data"]["code"] for event in events] == ["drifted"]
    registered_number = platform.api.get("/api/dids", did_number=number["did_number"]).json[0]
    assert registered_number["registration_status"] == "failed"
    assert carrier.registered_numbers == {}
    assert _run_daily_checks(world, acme) == []


def test_a_number_that_is_missing_at_the_carrier_has_drifted(
    acme: Tenant, world: Factory, number_settings_carrier: type[NumberSettingsCarrier]
) -> None:
    number = acme.number()
    world.run_jobs(acme)

    _run_daily_checks(world, acme)

    registration = _registration(acme, number)
    assert registration["code"] == "drifted"
    assert registration["detail"] == "the carrier has no such number"


def test_a_drifted_number_is_checked_daily_after_a_new_registration(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    carrier.registered_numbers.clear()
    _run_daily_checks(world, acme)

    acme.post(f"/phone-numbers/{number['id']}/register")
    world.run_jobs(acme)

    assert _registration(acme, number)["status"] == "registered"
    assert _run_daily_checks(world, acme) == [CHECK_JOB]


def test_a_failed_daily_check_is_repeated_on_the_next_day(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    before = _registration(acme, number)

    for error in (
        TelephonyError("away", permanent=False),
        TelephonyError("no", permanent=True, code="20003"),
    ):
        carrier.fail_next(error)
        assert _run_daily_checks(world, acme) == [CHECK_JOB]

    assert _registration(acme, number) == before
    assert _run_daily_checks(world, acme) == [CHECK_JOB]


def test_repeated_registrations_leave_one_waiting_check(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)

    for _ in range(3):
        acme.post(f"/phone-numbers/{number['id']}/register")
        world.run_jobs(acme)

    assert _run_daily_checks(world, acme) == [CHECK_JOB]


@pytest.mark.parametrize("change", [{"is_active": False}, None])
def test_an_unregistered_number_is_not_checked(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, change: dict[str, Any] | None
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    path = f"/phone-numbers/{number['id']}"
    _ = acme.patch(path, change) if change else acme.delete(path)
    world.run_jobs(acme)

    assert _run_daily_checks(world, acme) == [CHECK_JOB]
    assert "check_number" not in requested_operations(carrier)
    assert _run_daily_checks(world, acme) == []


def test_a_registration_during_a_check_is_not_reported_as_drift(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    carrier.registered_numbers.clear()
    check_number = carrier.check_number

    def check_and_register(*arguments: Any) -> tuple[NumberSetting, ...]:
        number_settings = check_number(*arguments)
        acme.post(f"/phone-numbers/{number['id']}/register")
        # The registration is complete before the check ends.
        with tenant_session(acme.ref, database=app_services().database) as session:
            row = session.get_one(PhoneNumber, UUID(number["id"]))
            row.registration_status, row.registration_checked_at = "registered", clock.now()
        return number_settings

    monkeypatch.setattr(carrier, "check_number", check_and_register)
    drift.check_drift(acme.ref, phone_number_id=UUID(number["id"]), services=app_services())

    assert _registration(acme, number)["status"] == "registered"


# Checks as a proof


@pytest.fixture
def assigned_numbers_only(app: Flask) -> Iterator[None]:
    """Let tenants claim only the numbers that the platform has assigned to them."""
    app.config["CLAIMS_ARE_OPEN"] = False
    yield
    app.config["CLAIMS_ARE_OPEN"] = True


def test_a_number_on_the_tenants_own_account_needs_no_assignment(
    acme: Tenant,
    globex: Tenant,
    assigned_numbers_only: None,
    number_settings_carrier: type[NumberSettingsCarrier],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own_account = create_account(acme)
    number_fields = {"did_number": fresh_number()}

    without_account = acme.post("/phone-numbers", number_fields)
    not_at_carrier = acme.post("/phone-numbers", {**number_fields, **own_account.number_fields})
    monkeypatch.setattr(
        NumberSettingsCarrier, "number_settings", (NumberSetting("voice_url", "https://x", None),)
    )
    deployment_account = acme.post("/phone-numbers", {**number_fields, "provider_type": "fake"})
    first_claim = acme.post("/phone-numbers", {**number_fields, **own_account.number_fields})
    second_claim = globex.post(
        "/phone-numbers", {**number_fields, **create_account(globex).number_fields}
    )

    for response in (without_account, not_at_carrier, deployment_account):
        assert (response.status_code, response.json["code"]) == (403, "number-not-assigned")
    assert first_claim.status_code == 201
    assert (second_claim.status_code, second_claim.json["code"]) == (409, "number-already-claimed")


@pytest.mark.parametrize("claims", ["open", "assigned"])
@pytest.mark.parametrize("number", ["+19245550", "+852454500", "+521551234", "+99912345"])
def test_an_unknown_number_needs_the_word_of_a_carrier_or_of_the_platform(
    app: Flask,
    acme: Tenant,
    globex: Tenant,
    platform: Platform,
    number_settings_carrier: type[NumberSettingsCarrier],
    monkeypatch: pytest.MonkeyPatch,
    number: str,
    claims: str,
) -> None:
    monkeypatch.setitem(app.config, "CLAIMS_ARE_OPEN", claims == "open")
    own_account = create_account(acme)
    numbers = [{"did_number": f"{number}{next(_suffixes)}"} for _ in range(4)]

    without_account = acme.post("/phone-numbers", numbers[0])
    not_at_carrier = acme.post("/phone-numbers", {**numbers[0], **own_account.number_fields})
    platform_claim = platform.api.post(acme.url("/phone-numbers"), numbers[0])
    assignment = platform.api.post("/api/dids", {**numbers[1], "tenant_id": acme.id})
    foreign_claim = globex.post("/phone-numbers", numbers[1])
    assigned_claim = acme.post("/phone-numbers", numbers[1])
    monkeypatch.setattr(
        NumberSettingsCarrier, "number_settings", (NumberSetting("voice_url", "https://x", None),)
    )
    deployment_account = acme.post("/phone-numbers", {**numbers[2], "provider_type": "fake"})
    own_claim = acme.post("/phone-numbers", {**numbers[2], **own_account.number_fields})
    taken_claim = globex.post("/phone-numbers", numbers[2])

    for response in (without_account, not_at_carrier, deployment_account):
        assert response.status_code == 400
        [error] = response.json["errors"]
        assert error["pointer"] == "/did_number"
        assert "No numbering plan has this number" in error["detail"]
    for response in (platform_claim, assignment, assigned_claim, own_claim):
        assert response.status_code == 201, response.text
    for response in (foreign_claim, taken_claim):
        assert (response.status_code, response.json["code"]) == (409, "number-already-claimed")
    claimed_numbers = {row["did_number"] for row in acme.get("/phone-numbers").json}
    assert claimed_numbers == {body["did_number"] for body in numbers[:3]}


def test_a_number_assigned_to_another_tenant_is_not_claimed_by_proof(
    acme: Tenant,
    globex: Tenant,
    platform: Platform,
    assigned_numbers_only: None,
    number_settings_carrier: type[NumberSettingsCarrier],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        NumberSettingsCarrier, "number_settings", (NumberSetting("voice_url", "https://x", None),)
    )
    number = fresh_number()
    platform.api.post("/api/dids", {"did_number": number, "tenant_id": globex.id})

    response = acme.post(
        "/phone-numbers", {"did_number": number, **create_account(acme).number_fields}
    )

    assert (response.status_code, response.json["code"]) == (409, "number-already-claimed")


def test_a_failing_carrier_during_the_proof_returns_502_and_no_number(
    acme: Tenant, assigned_numbers_only: None, carrier: FakeTelephonyAdapter
) -> None:
    own_account = create_account(acme)
    own_account.carrier.fail_next(TelephonyError("away", permanent=False))
    number = fresh_number()

    response = acme.post("/phone-numbers", {"did_number": number, **own_account.number_fields})

    assert (response.status_code, response.json["code"]) == (502, "carrier-failed")
    assert acme.get("/phone-numbers").json == []


def test_the_account_of_another_tenant_is_rejected_as_a_proof(
    acme: Tenant, globex: Tenant, assigned_numbers_only: None, carrier: FakeTelephonyAdapter
) -> None:
    foreign_account: OwnAccount = create_account(globex)

    response = acme.post(
        "/phone-numbers", {"did_number": fresh_number(), **foreign_account.number_fields}
    )

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == "/telephony_account_id"
    assert requested_operations(foreign_account.carrier) == []
