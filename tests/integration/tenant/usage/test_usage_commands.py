"""`flask usage`: versions of plans, and corrections, as an operator does them."""

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
from tests.support.usage import record_usage, total_quantities, usage_facts
from vca.kit import clock, json
from vca.tenant.calls.carrier_webhooks import authentication


@pytest.fixture(autouse=True)
def _first_versions_only() -> Iterator[None]:
    yield
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.plans WHERE version > 1"))


@pytest.fixture
def document() -> dict[str, Any]:
    """A version of the starter's plan, valid in a moment."""
    return {
        "plan": "starter",
        "valid_from": (clock.now() + timedelta(days=1)).isoformat(),
        "currency": "USD",
        "limits": {"concurrent_calls": 3},
        "included": {"call_seconds": 60},
        "prices": {"call_seconds": {"price": 1, "per": 1}},
    }


def _run(app: Flask, *words: object) -> Result:
    return app.test_cli_runner().invoke(args=["usage", *map(str, words)])


def _written(folder: Path, document: Any) -> Path:
    path = folder / "plan.json"
    path.write_bytes(json.dumps(document))
    return path


def test_every_plan_has_a_first_version(app: Flask) -> None:
    listed = json.loads(_run(app, "plans", "--json").stdout)

    assert {(each["plan"], each["version"]) for each in listed} == {
        ("starter", 1),
        ("growth", 1),
        ("custom", 1),
    }
    assert {each["currency"] for each in listed} == {"USD"}
    assert "starter" in _run(app, "plans").stdout


def test_a_version_is_added_and_counts_from_its_day_on(
    app: Flask, acme: Tenant, tmp_path: Path, document: dict[str, Any]
) -> None:
    for number in (2, 3):
        added = _run(app, "plan-version", _written(tmp_path, document), "--json")

        assert added.exit_code == 0, added.output
        shown = json.loads(added.stdout)
        assert (shown["plan"], shown["version"], shown["prices"]) == (
            "starter",
            number,
            document["prices"],
        )
    record_usage(acme, 60)
    assert [fact["plan_version"] for fact in usage_facts(acme)] == [1]


@pytest.mark.parametrize(
    ("wrong", "said"),
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
def test_what_is_no_version_is_refused_with_the_field(
    app: Flask, tmp_path: Path, document: dict[str, Any], wrong: dict[str, Any], said: str
) -> None:
    refused = _run(app, "plan-version", _written(tmp_path, {**document, **wrong}))

    assert refused.exit_code == 1
    assert said in refused.output
    assert "Traceback" not in refused.output
    assert len(json.loads(_run(app, "plans", "--json").stdout)) == 3


def test_a_versions_limits_hold_from_its_day_on(
    app: Flask, acme: Tenant, tmp_path: Path, document: dict[str, Any]
) -> None:
    number = acme.number()["did_number"]
    _run(app, "plan-version", _written(tmp_path, document))
    assert acme.get("/settings").json["limits"]["concurrent_calls"] == 2

    with admin_db.public_session() as session:
        session.execute(text("UPDATE public.plans SET valid_from = now() WHERE version = 2"))

    assert acme.get("/settings").json["limits"]["concurrent_calls"] == 3
    called = authentication.find_number_owner(number)
    assert called is not None
    assert called.plan_limits == {"concurrent_calls": 3}


def test_what_is_no_json_is_refused(app: Flask, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("{")

    assert "not JSON" in _run(app, "plan-version", path).output
    assert _run(app, "plan-version", _written(tmp_path, [])).exit_code == 1


def test_a_fact_is_taken_back_once(app: Flask, acme: Tenant, globex: Tenant) -> None:
    fact = record_usage(acme, 60)

    done = json.loads(_run(app, "reverse", acme.id, fact.id, "--json").stdout)

    assert str(usage_facts(acme)[0]["id"]) in (done["fact_id"], done["reversal_id"])
    assert total_quantities(acme) == {}
    for tenant, fact_id in ((acme, fact.id), (globex, fact.id), (acme, uuid4())):
        refused = _run(app, "reverse", tenant.id, fact_id)
        assert refused.exit_code == 1
        assert "Traceback" not in refused.output
    assert len(usage_facts(acme)) == 2
