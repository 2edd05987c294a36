"""What a carrier holds of a number: shown on request, compared every day, never set right."""

from typing import Any, ClassVar
from uuid import UUID

import pytest
from flask import Flask

from tests.support.accounts import OwnAccount, create_account, requested_operations
from tests.support.factories import Factory, Platform, Tenant, fresh_number
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


class NumberSettingsCarrier(FakeTelephonyAdapter):
    """Tells what it is told to tell of a number; nothing: it has no such number."""

    holds: ClassVar[tuple[NumberSetting, ...]] = ()

    def check_number(
        self, tenant_id: UUID, phone_number_id: UUID, did_number: str
    ) -> tuple[NumberSetting, ...]:
        super().check_number(tenant_id, phone_number_id, did_number)
        return self.holds


@pytest.fixture
def number_settings_carrier(
    app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> type[FakeTelephonyAdapter]:
    """The deployment's carrier, which knows no number."""
    fresh = NumberSettingsCarrier(f"fake-carrier|{settings.secret_key}")
    providers.set_current_carriers(providers.Carriers(settings)).register(fresh)
    monkeypatch.setattr(NumberSettingsCarrier, "holds", ())
    return NumberSettingsCarrier


def _check(tenant: Tenant, number: dict[str, Any]) -> Any:
    return tenant.post(f"/phone-numbers/{number['id']}/check")


def _registration(tenant: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get(f"/phone-numbers/{number['id']}").json["registration"]
    return found


def _look_tomorrow(world: Factory, tenant: Tenant) -> list[str]:
    world.make_due(tenant, CHECK_JOB)
    return world.run_jobs(tenant)


# --- On request -----------------------------------------------------------------------------------


def test_what_the_carrier_holds_is_shown_field_by_field(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    before = _check(acme, number).json
    world.run_jobs(acme)

    after = _check(acme, number).json

    owner = {"name": "owner", "wanted": acme.id}
    assert before["fields"] == [{**owner, "found": None, "agrees": False}]
    assert after["fields"] == [{**owner, "found": acme.id, "agrees": True}]
    assert (before["agrees"], after["agrees"]) == (False, True)
    assert after["provider_type"] == "fake"
    assert after["checked_at"] is not None


def test_a_number_that_the_carrier_has_not_agrees_in_nothing(
    acme: Tenant, number_settings_carrier: type[FakeTelephonyAdapter]
) -> None:
    answer = _check(acme, acme.number())

    assert (answer.status_code, answer.json["agrees"], answer.json["fields"]) == (200, False, [])


def test_checking_changes_nothing(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    before = acme.get(f"/phone-numbers/{number['id']}").json
    carrier.registered_numbers.clear()

    _check(acme, number)

    assert acme.get(f"/phone-numbers/{number['id']}").json == before
    assert world.run_jobs(acme) == []
    assert carrier.registered_numbers == {}


def test_a_carrier_that_fails_is_502_and_none_is_409(
    acme: Tenant, globex: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    carrier.fail_next(TelephonyError("away", permanent=False))

    failed = _check(acme, number)
    providers.current_carriers().default = None
    none = _check(acme, number)

    assert (failed.status_code, failed.json["code"]) == (502, "carrier-failed")
    assert (none.status_code, none.json["code"]) == (409, "carrier-not-configured")
    assert _check(globex, number).status_code == 404


def test_a_number_on_an_account_is_checked_there(
    acme: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    own = create_account(acme)

    _check(acme, acme.number(**own.number_fields))

    assert requested_operations(own.carrier) == ["check_number"]
    assert requested_operations(carrier) == []


# --- Every day ------------------------------------------------------------------------------------


def test_a_registered_number_that_agrees_is_looked_at_again_every_day(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    registered_at = _registration(acme, number)["checked_at"]

    for _ in range(3):
        assert _look_tomorrow(world, acme) == [CHECK_JOB]

    assert requested_operations(carrier) == ["register_number", *["check_number"] * 3]
    assert _registration(acme, number)["status"] == "registered"
    assert _registration(acme, number)["checked_at"] > registered_at


def test_what_has_drifted_is_told_and_left_as_it_is(
    acme: Tenant, world: Factory, platform: Platform, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    carrier.registered_numbers.clear()

    assert _look_tomorrow(world, acme) == [CHECK_JOB]

    found = _registration(acme, number)
    assert (found["status"], found["code"]) == ("failed", "drifted")
    assert "owner" in found["detail"]
    assert found["next_attempt_at"] is None
    told = acme.get("/events", type="phone_number.failed").json
    assert [event["data"]["code"] for event in told] == ["drifted"]
    did = platform.api.get("/api/dids", did_number=number["did_number"]).json[0]
    assert did["registration_status"] == "failed"
    assert carrier.registered_numbers == {}
    assert _look_tomorrow(world, acme) == []


def test_a_number_that_has_gone_from_the_carrier_has_drifted(
    acme: Tenant, world: Factory, number_settings_carrier: type[FakeTelephonyAdapter]
) -> None:
    number = acme.number()
    world.run_jobs(acme)

    _look_tomorrow(world, acme)

    found = _registration(acme, number)
    assert (found["code"], found["detail"]) == ("drifted", "the carrier has no such number")


def test_registered_anew_it_is_watched_again(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    carrier.registered_numbers.clear()
    _look_tomorrow(world, acme)

    acme.post(f"/phone-numbers/{number['id']}/register")
    world.run_jobs(acme)

    assert _registration(acme, number)["status"] == "registered"
    assert _look_tomorrow(world, acme) == [CHECK_JOB]


def test_a_carrier_that_cannot_be_asked_is_asked_tomorrow(
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
        assert _look_tomorrow(world, acme) == [CHECK_JOB]

    assert _registration(acme, number) == before
    assert _look_tomorrow(world, acme) == [CHECK_JOB]


def test_one_check_waits_for_each_number_however_often_it_is_registered(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter
) -> None:
    number = acme.number()
    world.run_jobs(acme)

    for _ in range(3):
        acme.post(f"/phone-numbers/{number['id']}/register")
        world.run_jobs(acme)

    assert _look_tomorrow(world, acme) == [CHECK_JOB]


@pytest.mark.parametrize("change", [{"is_active": False}, None])
def test_a_number_that_is_not_registered_any_more_is_not_asked_about(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, change: dict[str, Any] | None
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    one = f"/phone-numbers/{number['id']}"
    _ = acme.patch(one, change) if change else acme.delete(one)
    world.run_jobs(acme)

    assert _look_tomorrow(world, acme) == [CHECK_JOB]
    assert "check_number" not in requested_operations(carrier)
    assert _look_tomorrow(world, acme) == []


def test_what_was_ordered_while_the_carrier_was_asked_is_not_called_drift(
    acme: Tenant, world: Factory, carrier: FakeTelephonyAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = acme.number()
    world.run_jobs(acme)
    carrier.registered_numbers.clear()
    check = carrier.check_number

    def ordered_meanwhile(*given: Any) -> Any:
        found = check(*given)
        acme.post(f"/phone-numbers/{number['id']}/register")
        with tenant_session(acme.ref) as session:  # and done before we come back
            row = session.get_one(PhoneNumber, UUID(number["id"]))
            row.registration_status, row.registration_checked_at = "registered", clock.now()
        return found

    monkeypatch.setattr(carrier, "check_number", ordered_meanwhile)
    drift.check_drift(acme.ref, phone_number_id=UUID(number["id"]))

    assert _registration(acme, number)["status"] == "registered"


# --- A proof --------------------------------------------------------------------------------------


@pytest.fixture
def assigned(app: Flask) -> Any:
    """A deployment whose tenants claim only what was assigned to them."""
    app.config["CLAIMS_ARE_OPEN"] = False
    yield
    app.config["CLAIMS_ARE_OPEN"] = True


def test_a_number_that_the_tenants_own_account_has_needs_nobody_to_assign_it(
    acme: Tenant,
    globex: Tenant,
    assigned: None,
    number_settings_carrier: type[NumberSettingsCarrier],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = create_account(acme)
    did = {"did_number": fresh_number()}

    without = acme.post("/phone-numbers", did)
    not_there = acme.post("/phone-numbers", {**did, **own.number_fields})
    monkeypatch.setattr(
        NumberSettingsCarrier, "holds", (NumberSetting("voice_url", "https://x", None),)
    )
    plain = acme.post("/phone-numbers", {**did, "provider_type": "fake"})
    there = acme.post("/phone-numbers", {**did, **own.number_fields})
    taken = globex.post("/phone-numbers", {**did, **create_account(globex).number_fields})

    for refused in (without, not_there, plain):
        assert (refused.status_code, refused.json["code"]) == (403, "number-not-assigned")
    assert there.status_code == 201
    assert (taken.status_code, taken.json["code"]) == (409, "number-already-claimed")


def test_a_number_that_is_promised_to_another_is_no_ones_by_proof(
    acme: Tenant,
    globex: Tenant,
    platform: Platform,
    assigned: None,
    number_settings_carrier: type[NumberSettingsCarrier],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        NumberSettingsCarrier, "holds", (NumberSetting("voice_url", "https://x", None),)
    )
    number = fresh_number()
    platform.api.post("/api/dids", {"did_number": number, "tenant_id": globex.id})

    refused = acme.post(
        "/phone-numbers", {"did_number": number, **create_account(acme).number_fields}
    )

    assert (refused.status_code, refused.json["code"]) == (409, "number-already-claimed")


def test_the_proof_is_asked_for_while_nothing_is_open_and_a_carrier_that_fails_is_502(
    acme: Tenant, assigned: None, carrier: FakeTelephonyAdapter
) -> None:
    own = create_account(acme)
    own.carrier.fail_next(TelephonyError("away", permanent=False))
    number = fresh_number()

    failed = acme.post("/phone-numbers", {"did_number": number, **own.number_fields})

    assert (failed.status_code, failed.json["code"]) == (502, "carrier-failed")
    assert acme.get("/phone-numbers").json == []


def test_an_account_that_is_not_the_tenants_proves_nothing(
    acme: Tenant, globex: Tenant, assigned: None, carrier: FakeTelephonyAdapter
) -> None:
    theirs: OwnAccount = create_account(globex)

    refused = acme.post("/phone-numbers", {"did_number": fresh_number(), **theirs.number_fields})

    assert refused.status_code == 400
    assert refused.json["errors"][0]["pointer"] == "/telephony_account_id"
    assert requested_operations(theirs.carrier) == []
