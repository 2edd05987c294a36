"""Static fallback documents forward callers only as far as the tenant may dial."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.services import app_services, use_services, use_settings
from vca.kit import json
from vca.registry.number_registry.service import Owner
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import Forward, HangUp, Say
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks import authentication, fallback
from vca.tenant.calls.core import outbound_legs


@pytest.fixture
def folder(app: Flask, tmp_path: Path) -> Iterator[Path]:
    """Return the folder that VCA keeps up to date."""
    services = app_services()
    use_settings(carrier_fallback_folder=str(tmp_path))
    yield tmp_path
    use_services(**vars(services))


@pytest.fixture
def number(acme: Tenant, carrier: FakeTelephonyAdapter) -> dict[str, Any]:
    """Return a number with a fallback number in its own country."""
    return acme.number(fallback_number=fresh_number())


@pytest.fixture
def limited_owner(acme: Tenant, number: dict[str, Any]) -> Owner:
    """Return the owner of the number, who may dial once a minute."""
    acme.patch("/settings", {"dial_policy": {"per_minute": 1}})
    owner = authentication.find_number_owner(number["did_number"], services=app_services())
    assert owner is not None
    return owner


def _invoke(app: Flask, *arguments: str) -> str:
    result = app.test_cli_runner().invoke(args=[*arguments])
    assert result.exit_code == 0, result.output
    return result.output


def _action_types(folder: Path, number: dict[str, Any]) -> list[str]:
    path = folder / "fake" / f"{number['did_number'].lstrip('+')}.json"
    return [action["type"] for action in json.loads(path.read_bytes())["actions"]]


def _render(app: Flask, folder: Path, number: dict[str, Any]) -> list[str]:
    _invoke(app, "telephony", "render-fallbacks", str(folder))
    return _action_types(folder, number)


def test_a_document_forwards_only_if_the_number_may_be_dialled(
    app: Flask, acme: Tenant, platform: Platform, number: dict[str, Any], tmp_path: Path
) -> None:
    before = _render(app, tmp_path, number)
    acme.patch("/settings", {"dial_policy": {"countries": ["US"]}})
    narrowed = _render(app, tmp_path, number)
    acme.patch("/settings", {"dial_policy": {"countries": None}})
    platform.api.patch(acme.url("/settings"), {"limits": {"dialling": {"countries": ["US"]}}})
    below_ceiling = _render(app, tmp_path, number)
    platform.api.patch(acme.url("/settings"), {"limits": {"dialling": None}})
    platform.api.patch(acme.url(), {"status": "suspended"})
    suspended = _render(app, tmp_path, number)

    assert before == ["forward"]
    assert narrowed == below_ceiling == suspended == ["say", "hang_up"]


def test_documents_of_numbers_that_nobody_owns_any_more_are_deleted(
    app: Flask, acme: Tenant, number: dict[str, Any], folder: Path
) -> None:
    assert _render(app, folder, number) == ["forward"]
    own_file = folder / "fake" / "index.html"
    own_file.write_text("The operator's own file.")
    acme.delete(f"/phone-numbers/{number['id']}")

    _invoke(app, "dialling", "freeze")

    _invoke(app, "dialling", "resume")
    assert own_file.exists()
    assert not (folder / "fake" / f"{number['did_number'].lstrip('+')}.json").exists()


def test_rendering_counts_no_legs(
    app: Flask, acme: Tenant, number: dict[str, Any], tmp_path: Path
) -> None:
    acme.patch("/settings", {"dial_policy": {"per_minute": 1}})
    to = number["fallback_number"]
    with tenant_session(acme.ref, database=app_services().database) as session:
        outbound_legs.authorise_leg(
            session,
            to,
            kind="forward",
            call_id=None,
            from_number=number["did_number"],
            services=app_services(),
        )

    assert [_render(app, tmp_path, number) for _ in range(3)] == [["forward"]] * 3
    with tenant_session(acme.ref, database=app_services().database) as session:
        assert outbound_legs.count_recent_legs(session).last_day == 1


def test_a_call_during_an_upgrade_counts_the_leg_to_its_fallback_number(
    limited_owner: Owner, number: dict[str, Any]
) -> None:
    first, second = (
        fallback.fallback_actions(
            limited_owner, number["did_number"], records_leg=True, services=app_services()
        )
        for _ in range(2)
    )

    assert [type(action) for action in first] == [Forward]
    assert [type(action) for action in second] == [Say, HangUp]


def test_a_call_that_is_reported_again_when_it_is_answered_counts_its_leg_once(
    acme: Tenant, limited_owner: Owner, number: dict[str, Any]
) -> None:
    ringing, answered = (
        fallback.actions_during_upgrade(
            limited_owner, number["did_number"], unanswered=unanswered, services=app_services()
        )
        for unanswered in (True, False)
    )

    assert [type(action) for action in ringing] == [Forward]
    assert [type(action) for action in answered] == [Forward]
    with tenant_session(acme.ref, database=app_services().database) as session:
        assert outbound_legs.count_recent_legs(session).last_day == 1


def test_a_freeze_writes_the_documents_again_and_so_does_its_end(
    app: Flask, acme: Tenant, number: dict[str, Any], folder: Path
) -> None:
    before = _render(app, folder, number)

    output = _invoke(app, "dialling", "freeze", "--tenant", acme.id)
    frozen = _action_types(folder, number)
    _invoke(app, "dialling", "resume", "--tenant", acme.id)
    resumed = _action_types(folder, number)

    assert (before, frozen, resumed) == (["forward"], ["say", "hang_up"], ["forward"])
    assert "1 fallback documents written" in output


def test_a_freeze_of_all_tenants_reaches_every_document(
    app: Flask, number: dict[str, Any], folder: Path
) -> None:
    _render(app, folder, number)
    try:
        _invoke(app, "dialling", "freeze")
        frozen = _action_types(folder, number)
    finally:
        _invoke(app, "dialling", "resume")

    assert frozen == ["say", "hang_up"]


@pytest.mark.parametrize("ceiling", [False, True])
def test_a_narrower_policy_writes_the_documents_again(
    app: Flask,
    world: Factory,
    acme: Tenant,
    platform: Platform,
    number: dict[str, Any],
    folder: Path,
    ceiling: bool,
) -> None:
    _render(app, folder, number)
    policy = {"countries": ["US"]}
    if ceiling:
        platform.api.patch(acme.url("/settings"), {"limits": {"dialling": policy}})
    else:
        acme.patch("/settings", {"dial_policy": policy})

    world.run_jobs(acme)

    assert _action_types(folder, number) == ["say", "hang_up"]


def test_a_suspension_writes_the_documents_again(
    app: Flask,
    world: Factory,
    acme: Tenant,
    platform: Platform,
    number: dict[str, Any],
    folder: Path,
) -> None:
    _render(app, folder, number)
    platform.api.patch(acme.url(), {"status": "suspended"})

    world.run_jobs(acme)

    assert _action_types(folder, number) == ["say", "hang_up"]


def test_without_a_folder_a_freeze_says_what_to_do(app: Flask, acme: Tenant) -> None:
    use_settings(carrier_fallback_url="https://fallback.example.com/vca")

    output = _invoke(app, "dialling", "freeze", "--tenant", acme.id)

    assert "flask telephony render-fallbacks" in output
