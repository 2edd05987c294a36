"""Outbound legs: the record of each leg, the caps, and the freeze of dialling."""

from collections import Counter
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import select, text

from tests.support import admin_db
from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services
from vca.kit import json
from vca.registry import deployment
from vca.registry.deployment import DiallingNotFrozen
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import outbound_legs
from vca.tenant.calls.core.models import OutboundLeg
from vca.tenant.settings.dialling import DiallingRefused, RecentDials

LONDON, NEW_YORK = "+442071234567", "+12125550123"


def _dial(tenant: Tenant, number: str = LONDON, **fields: Any) -> str | None:
    """Authorise a leg in its own transaction. Return the reason if it is denied."""
    leg: dict[str, Any] = {"kind": "call", "call_id": None, "from_number": "+442079999999"}
    with tenant_session(tenant.ref, database=app_services().database) as session:
        try:
            outbound_legs.authorise_leg(
                session, number, **{**leg, **fields}, services=app_services()
            )
        except DiallingRefused as error:
            return error.reason
    return None


def _count_recent_legs(tenant: Tenant) -> RecentDials:
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return outbound_legs.count_recent_legs(session)


def _age_legs(world: Factory, tenant: Tenant, interval: str) -> None:
    world.sql(tenant, f"UPDATE outbound_legs SET created_at = created_at - interval '{interval}'")


def test_an_authorised_leg_is_recorded(acme: Tenant, globex: Tenant) -> None:
    call_id = uuid4()

    assert _dial(acme, kind="transfer", call_id=call_id) is None

    with tenant_session(acme.ref, database=app_services().database) as session:
        [leg] = session.scalars(select(OutboundLeg))
    assert (leg.kind, leg.call_id, leg.number) == ("transfer", call_id, LONDON)
    assert str(leg.tenant_id) == acme.id
    assert (_count_recent_legs(acme), _count_recent_legs(globex)) == (
        RecentDials(1, 1),
        RecentDials(0, 0),
    )


def test_a_denied_leg_has_a_reason_and_is_not_counted(acme: Tenant) -> None:
    with (
        tenant_session(acme.ref, database=app_services().database) as session,
        pytest.raises(DiallingRefused) as error_info,
    ):
        outbound_legs.authorise_leg(
            session,
            "+449098790123",
            kind="call",
            call_id=None,
            from_number=LONDON,
            services=app_services(),
        )

    assert (error_info.value.status, error_info.value.problem_code) == (409, "dialling-refused")
    assert error_info.value.reason == "number_type"
    assert "(number_type)" in error_info.value.detail
    assert _count_recent_legs(acme) == RecentDials(0, 0)


def test_the_allowed_country_is_that_of_the_calling_number_or_home(acme: Tenant) -> None:
    assert _dial(acme, NEW_YORK) == "country"
    assert _dial(acme, NEW_YORK, from_number="+14155550100") is None

    acme.patch("/settings", {"home_country": "US"})

    assert _dial(acme, NEW_YORK) is None
    assert _dial(acme, LONDON) == "country"


def test_a_tenant_may_dial_numbers_of_other_tenants_but_not_its_own(
    acme: Tenant, globex: Tenant
) -> None:
    number = acme.number()["did_number"]

    assert _dial(acme, number) == "own_number"
    assert _dial(globex, number) is None


def test_the_caps_count_the_last_minute_and_the_last_day(world: Factory, acme: Tenant) -> None:
    acme.patch("/settings", {"dial_policy": {"per_minute": 2, "per_day": 3}})

    assert [_dial(acme) for _ in range(3)] == [None, None, "per_minute"]
    _age_legs(world, acme, "61 seconds")
    assert _count_recent_legs(acme) == RecentDials(0, 2)
    assert [_dial(acme) for _ in range(2)] == [None, "per_day"]
    _age_legs(world, acme, "24 hours")
    assert _count_recent_legs(acme) == RecentDials(0, 0)
    assert _dial(acme) is None


def test_concurrent_legs_do_not_exceed_the_cap(acme: Tenant, globex: Tenant) -> None:
    acme.patch("/settings", {"dial_policy": {"per_minute": 5}})

    outcomes = run_concurrently([partial(_dial, acme)] * 20)

    assert Counter(outcomes) == {None: 5, "per_minute": 15}
    assert _count_recent_legs(acme) == RecentDials(5, 5)
    assert _dial(globex) is None


def test_a_leg_whose_transaction_fails_is_not_counted(acme: Tenant) -> None:
    def fail() -> None:
        with tenant_session(acme.ref, database=app_services().database) as session:
            outbound_legs.authorise_leg(
                session,
                LONDON,
                kind="call",
                call_id=None,
                from_number=LONDON,
                services=app_services(),
            )
            raise LookupError

    with pytest.raises(LookupError):
        fail()

    assert _count_recent_legs(acme) == RecentDials(0, 0)


# The command `flask dialling`


def _run_command(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["dialling", *arguments])


def _run_json_command(app: Flask, *arguments: str) -> Any:
    result = _run_command(app, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_dialling_of_one_tenant_is_frozen_and_resumed(
    app: Flask, acme: Tenant, globex: Tenant
) -> None:
    frozen = _run_json_command(app, "freeze", "--tenant", acme.id)

    assert frozen == {"tenant_id": acme.id, "frozen": True}
    assert _dial(acme) == "frozen"
    assert _dial(globex) is None
    assert _run_json_command(app, "freeze", "--tenant", acme.id)["frozen"] is True
    assert _run_json_command(app, "resume", "--tenant", acme.id)["frozen"] is False
    assert _dial(acme) is None


def test_the_freeze_of_a_tenant_outlasts_a_freeze_of_the_deployment(
    app: Flask, acme: Tenant, globex: Tenant
) -> None:
    _run_json_command(app, "freeze", "--tenant", acme.id)

    deployment_freeze = _run_json_command(app, "freeze")
    try:
        during_freeze = [_dial(acme), _dial(globex)]
    finally:
        _run_json_command(app, "resume")

    assert deployment_freeze == {"tenant_id": None, "frozen": True}
    assert during_freeze == ["frozen", "frozen"]
    assert [_dial(acme), _dial(globex)] == ["frozen", None]


def test_a_freeze_without_a_deployment_row_raises_an_error(app: Flask) -> None:
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.deployment"))

        with pytest.raises(DiallingNotFrozen):
            deployment.freeze_dialling(session, frozen=True)

        session.rollback()


def test_a_freeze_does_not_block_storing_a_number(app: Flask, acme: Tenant) -> None:
    _run_json_command(app, "freeze", "--tenant", acme.id)

    assert acme.number(forward_to=fresh_number())["id"]


def test_freezing_an_unknown_tenant_fails(app: Flask) -> None:
    result = _run_command(app, "freeze", "--tenant", str(uuid4()))

    assert result.exit_code == 1
    assert "There is no such resource." in result.output


def test_the_freeze_command_prints_a_sentence(app: Flask, acme: Tenant) -> None:
    result = _run_command(app, "freeze", "--tenant", acme.id)

    assert result.output == f"Dialling is frozen for tenant {acme.id}.\n"
