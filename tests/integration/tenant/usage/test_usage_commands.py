"""Tests of `flask usage`: plan versions, and reversals of usage."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Tenant
from tests.support.services import app_services
from tests.support.usage import record_usage, total_quantities, usage_facts
from vca.kit import clock, json
from vca.tenant.calls.carrier_webhooks import authentication


@pytest.fixture(autouse=True)
def _delete_added_versions() -> Iterator[None]:
    yield
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.plans WHERE version > 1"))


@pytest.fixture
def document() -> dict[str, Any]:
    """Return a version of the starter plan that is valid from tomorrow."""
    return {
        "plan": "starter",
        "valid_from": (clock.now() + timedelta(days=1)).isoformat(),
        "currency": "USD",
        "limits": {"concurrent_calls": 3},
        "included": {"call_seconds": 60},
        "prices": {"call_seconds": {"price": 1, "per": 1}},
    }


def _run_usage(app: Flask, *arguments: object) -> Result:
    return app.test_cli_runner().invoke(args=["usage", *map(str, arguments)])


def _write_plan(folder: Path, document: Any) -> Path:
    path = folder / "plan.json"
    path.write_bytes(json.dumps(document))
    return path


def test_every_plan_has_a_first_version(app: Flask) -> None:
    plans = json.loads(_run_usage(app, "plans", "--json").stdout)

    assert {(plan["plan"], plan["version"]) for plan in plans} == {
        ("starter", 1),
        ("growth", 1),
        ("custom", 1),
    }
    assert {plan["currency"] for plan in plans} == {"USD"}
    assert "starter" in _run_usage(app, "plans").stdout


def test_an_added_version_applies_from_its_start_date(
    app: Flask, acme: Tenant, tmp_path: Path, document: dict[str, Any]
) -> None:
    for version in (2, 3):
        result = _run_usage(app, "plan-version", _write_plan(tmp_path, document), "--json")

        assert result.exit_code == 0, result.output
        plan = json.loads(result.stdout)
        assert (plan["plan"], plan["version"], plan["prices"]) == (
            "starter",
            version,
            document["prices"],
        )
    record_usage(acme, 60)
    assert [fact["plan_version"] for fact in usage_facts(acme)] == [1]


@pytest.mark.parametrize(
    ("changes", "expected_text"),
    [
        ({"plan": "gold"}, "plan"),
        ({"currency": "EUR"}, "one currency"),
        ({"currency": "usd"}, "currency"),
        ({"valid_from": "2026-01-01T00:00:00Z"}, "in the past"),
        ({"valid_from": "soon"}, "valid_from"),
        ({"prices": {"gold": {"price": 1, "per": 1}}}, "prices"),
        ({"prices": {"call_seconds": {"price": 1.5, "per": 1}}}, "prices"),
        ({"prices": {"call_seconds": {"price": 1, "per": 0}}}, "prices"),
        ({"included": {"call_seconds": -1}}, "included"),
        ({"limits": {}}, "limits"),
        ({"more": 1}, "more"),
    ],
)
def test_an_invalid_version_is_rejected_with_the_name_of_the_field(
    app: Flask,
    tmp_path: Path,
    document: dict[str, Any],
    changes: dict[str, Any],
    expected_text: str,
) -> None:
    result = _run_usage(app, "plan-version", _write_plan(tmp_path, {**document, **changes}))

    assert result.exit_code == 1
    assert expected_text in result.output
    assert "Traceback" not in result.output
    assert len(json.loads(_run_usage(app, "plans", "--json").stdout)) == 3


def test_the_limits_of_a_version_apply_from_its_start_date(
    app: Flask, acme: Tenant, tmp_path: Path, document: dict[str, Any]
) -> None:
    number = acme.number()["did_number"]
    _run_usage(app, "plan-version", _write_plan(tmp_path, document))
    assert acme.get("/settings").json["limits"]["concurrent_calls"] == 2

    with admin_db.public_session() as session:
        session.execute(text("UPDATE public.plans SET valid_from = now() WHERE version = 2"))

    assert acme.get("/settings").json["limits"]["concurrent_calls"] == 3
    owner = authentication.find_number_owner(number, services=app_services())
    assert owner is not None
    assert owner.plan_limits == {"concurrent_calls": 3}


def test_a_file_that_is_not_a_json_object_is_rejected(app: Flask, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("{")

    assert "not JSON" in _run_usage(app, "plan-version", path).output
    assert _run_usage(app, "plan-version", _write_plan(tmp_path, [])).exit_code == 1


def test_a_fact_is_reversed_once(app: Flask, acme: Tenant, globex: Tenant) -> None:
    fact = record_usage(acme, 60)

    reversal = json.loads(_run_usage(app, "reverse", acme.id, fact.id, "--json").stdout)

    assert str(usage_facts(acme)[0]["id"]) in (reversal["fact_id"], reversal["reversal_id"])
    assert total_quantities(acme) == {}
    for tenant, fact_id in ((acme, fact.id), (globex, fact.id), (acme, uuid4())):
        result = _run_usage(app, "reverse", tenant.id, fact_id)
        assert result.exit_code == 1
        assert "Traceback" not in result.output
    assert len(usage_facts(acme)) == 2
