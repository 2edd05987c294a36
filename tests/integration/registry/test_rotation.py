"""`flask secrets rotate`: everything that is encrypted under the newest key, whatever happens."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from tests.support.database_templates import Builder
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from tests.support.locks import open_transaction
from tests.support.tenants_cli import TenantsCli
from vca.kit import clock, db, encryption, json
from vca.kit.db import Database
from vca.kit.encryption import DecryptionError, EncryptionContext, Keyring
from vca.registry.webhooks import endpoints
from vca.registry.webhooks.platform_scope import PLATFORM_SCOPE
from vca.registry.webhooks.scope import WebhookScope
from vca.tenant.key_rotation import rotation
from vca.tenant.webhooks import tenant_scope

OLD, NEW, LOST = (os.urandom(32) for _ in range(3))
Secrets = dict[tuple[UUID, str], str]


@pytest.fixture(autouse=True)
def _keys(tenants_cli: TenantsCli) -> Iterator[None]:
    """The process's keys are put back."""
    with _under(OLD):
        yield


@contextmanager
def _under(key: bytes) -> Iterator[None]:
    before = encryption.current_keyring()
    encryption.set_current_keyring(Keyring([key]))
    yield
    encryption.set_current_keyring(before)


def three_tenants(world: Factory) -> list[Tenant]:
    """The last is deleted. Each has two endpoints that once had another secret."""
    made = [world.tenant(name) for name in ("Acme", "Globex", "Initech")]
    with _under(OLD):
        for tenant in made:
            _equip(tenant_scope.for_tenant(tenant.ref))
        _equip(PLATFORM_SCOPE)
    world.platform().api.patch(made[2].url(), {"status": "deleted"})
    return made


@pytest.fixture
def template_builder() -> Builder:
    """There are three tenants."""
    return three_tenants


@pytest.fixture
def tenants(template_payload: list[Tenant]) -> list[Tenant]:
    """Those three."""
    return template_payload


def _equip(box: WebhookScope) -> None:
    with box.open_session() as session:
        for _ in range(2):
            row, _ = endpoints.create(session, box, url="https://example.com/", is_active=False)
            endpoints.rotate_secret(session, box, webhook_id=row.id, now=clock.now())


def _sealed(witness: SnapshotChecker, tenants: list[Tenant]) -> dict[EncryptionContext, bytes]:
    """Every value as it is kept."""
    found = {}
    for owner in (None, *(UUID(each.id) for each in tenants)):
        where = f"t_{owner.hex}" if owner else "public"
        for column in ("secret", "previous_secret"):
            rows = witness.rows(f'SELECT id, {column} FROM "{where}".webhooks')
            found |= {
                EncryptionContext(owner, "webhooks", UUID(str(id)), column): bytes(it)
                for id, it in rows
            }
    return found


def _opened(keys: Keyring, kept: dict[EncryptionContext, bytes]) -> dict[EncryptionContext, str]:
    return {place: keys.decrypt(value, place) for place, value in kept.items()}


def _rotate(terminal: TenantsCli, *words: str) -> tuple[int, Any]:
    result = terminal.app.test_cli_runner().invoke(args=["secrets", "rotate", *words, "--json"])
    assert result.exit_code in (0, 1), result.output
    return result.exit_code, json.loads(result.stdout)


def test_after_a_rotation_the_old_key_is_not_needed(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    before = _opened(Keyring([OLD]), _sealed(db_snapshot, tenants))
    encryption.set_current_keyring(Keyring([NEW, OLD]))

    status, facts = _rotate(tenants_cli)

    assert (status, facts["tenants"], facts["resealed"]) == (0, 3, 16)
    assert (facts["left"], facts["unreadable"]) == (0, {})
    assert _opened(Keyring([NEW]), _sealed(db_snapshot, tenants)) == before
    assert len(before) == 16


def test_a_second_run_finds_nothing_to_do(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    encryption.set_current_keyring(Keyring([NEW, OLD]))
    _rotate(tenants_cli)
    kept = _sealed(db_snapshot, tenants)

    status, facts = _rotate(tenants_cli)

    assert (status, facts["resealed"]) == (0, 0)
    assert _sealed(db_snapshot, tenants) == kept


def test_a_dry_run_counts_and_changes_nothing(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    kept = _sealed(db_snapshot, tenants)
    encryption.set_current_keyring(Keyring([NEW, OLD]))

    status, facts = _rotate(tenants_cli, "--dry-run")

    assert (status, facts["resealed"], facts["dry_run"]) == (0, 16, True)
    assert _sealed(db_snapshot, tenants) == kept


class Killed(BaseException):
    """The process is gone."""


def test_a_run_that_is_killed_is_gone_on_with_and_all_is_readable_at_every_moment(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    tenants: list[Tenant],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = _opened(Keyring([OLD]), _sealed(db_snapshot, tenants))
    both = Keyring([NEW, OLD])
    encryption.set_current_keyring(both)
    written = 0
    write = db.execute_script

    def dying(connection: Any, statements: str) -> None:
        nonlocal written
        assert _opened(both, _sealed(db_snapshot, tenants)) == before
        if "webhooks" in statements:
            written += 1
            if written == 3:
                raise Killed
        write(connection, statements)

    with monkeypatch.context() as patched:
        patched.setattr(db, "execute_script", dying)
        with pytest.raises(Killed):
            _rotate(tenants_cli)
    half = _sealed(db_snapshot, tenants)

    status, facts = _rotate(tenants_cli)

    assert {both.uses_current_key(value) for value in half.values()} == {True, False}
    assert _opened(both, half) == before
    assert (status, facts["resealed"]) == (0, 8)
    assert _opened(Keyring([NEW]), _sealed(db_snapshot, tenants)) == before


def test_several_runs_at_once_share_the_work(
    owner_database: Database, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    before = _opened(Keyring([OLD]), _sealed(db_snapshot, tenants))
    encryption.set_current_keyring(Keyring([NEW, OLD]))
    outcomes: list[rotation.RotationResult] = []

    def run_once() -> None:
        database = Database(owner_database.dsn, pool_size=1)
        outcomes.append(rotation.rotate(database))
        database.close()

    runs = [threading.Thread(target=run_once) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()

    assert all(outcome.complete for outcome in outcomes)
    assert len(outcomes) == 4
    assert _opened(Keyring([NEW]), _sealed(db_snapshot, tenants)) == before


def test_a_secret_that_is_changed_meanwhile_is_left_to_who_changed_it(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    tenants: list[Tenant],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a process that does not know the new key yet: it is found, and sealed anew after all."""
    box = tenant_scope.for_tenant(tenants[0].ref)
    [id] = [place.row_id for place in _sealed(db_snapshot, tenants[:1]) if place.tenant_id][:1]
    encryption.set_current_keyring(Keyring([NEW, OLD]))
    told: list[str] = []
    change = rotation._write_values

    def changed_meanwhile(database: Database, sealed: Any) -> None:
        if any(kept.id == id for kept in sealed) and not told:
            encryption.set_current_keyring(Keyring([OLD]))
            with box.open_session() as session:
                told.append(
                    endpoints.rotate_secret(session, box, webhook_id=id, now=clock.now())[1]
                )
            encryption.set_current_keyring(Keyring([NEW, OLD]))
        change(database, sealed)

    monkeypatch.setattr(rotation, "_write_values", changed_meanwhile)
    status, _ = _rotate(tenants_cli)

    now = _opened(Keyring([NEW]), _sealed(db_snapshot, tenants))
    assert status == 0
    assert now[box.encryption_context(id, "secret")] == told[0]


def test_a_row_that_is_held_all_the_time_is_left_and_said_to_be(
    tenants_cli: TenantsCli,
    owner_database: Database,
    tenants: list[Tenant],
    db_snapshot: SnapshotChecker,
) -> None:
    encryption.set_current_keyring(Keyring([NEW, OLD]))

    with open_transaction(
        owner_database.dsn, f'SELECT 1 FROM "{tenants[1].ref.schema}".webhooks FOR UPDATE'
    ):
        status, facts = _rotate(tenants_cli)

    assert (status, facts["left"], facts["resealed"]) == (1, 4, 12)
    assert _rotate(tenants_cli)[0] == 0
    Keyring([NEW]).decrypt(
        *next((v, p) for p, v in _sealed(db_snapshot, tenants[1:2]).items() if p.tenant_id)
    )


def test_what_cannot_be_opened_is_named_and_stays_and_the_rest_goes_on(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    acme, globex = (UUID(each.id) for each in tenants[:2])
    kept = _sealed(db_snapshot, tenants)
    moved, _ = (place for place in kept if place.tenant_id == acme and place.column == "secret")
    foreign = next(value for place, value in kept.items() if place.tenant_id == globex)
    where = f't_{acme.hex}".webhooks'
    db_snapshot.rows(f'UPDATE "{where} SET secret = %s WHERE id = %s', foreign, moved.row_id.hex)
    strange = Keyring([LOST]).encrypt("whsec_", moved)
    db_snapshot.rows(
        f'UPDATE "{where} SET previous_secret = %s WHERE id = %s', strange, moved.row_id.hex
    )
    encryption.set_current_keyring(Keyring([NEW, OLD]))

    status, facts = _rotate(tenants_cli)

    after = _sealed(db_snapshot, tenants)
    assert (status, facts["resealed"], facts["left"]) == (1, 14, 0)
    assert facts["unreadable"] == {
        f"{acme} webhooks.secret": 1,
        f"{acme} webhooks.previous_secret": 1,
    }
    assert after[moved] == foreign
    with pytest.raises(DecryptionError):
        Keyring([NEW, OLD]).decrypt(after[moved], moved)


def test_a_rotated_value_that_is_moved_is_refused(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    encryption.set_current_keyring(Keyring([NEW, OLD]))
    _rotate(tenants_cli)

    kept = _sealed(db_snapshot, tenants)

    for place, value in kept.items():
        for other in kept:
            if other != place:
                with pytest.raises(DecryptionError):
                    Keyring([NEW, OLD]).decrypt(value, other)


def test_a_tenant_without_the_table_yet_is_no_obstacle(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    schema = tenants[0].ref.schema
    db_snapshot.rows(f'DROP TABLE "{schema}".webhooks CASCADE')
    encryption.set_current_keyring(Keyring([NEW, OLD]))

    status, facts = _rotate(tenants_cli)

    assert (status, facts["tenants"], facts["resealed"]) == (0, 3, 12)


def test_away_from_a_terminal_it_is_lines_of_json_and_it_is_told(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    encryption.set_current_keyring(Keyring([NEW, OLD]))

    result = tenants_cli.app.test_cli_runner().invoke(args=["secrets", "rotate"])

    began, ended = (json.loads(line) for line in result.stdout.splitlines())
    assert (began["event"], began["tenants"]) == ("secrets.rotating", 3)
    assert (ended["event"], ended["resealed"]) == ("secrets.rotated", 16)
    told = "SELECT actor, operation FROM public.audit_entries ORDER BY id DESC LIMIT 1"
    assert db_snapshot.rows(told) == [("command_line", "secrets rotate")]


def test_every_batch_is_done(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    tenants: list[Tenant],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    monkeypatch.setattr(rotation, "_TENANTS_PER_CONNECTION", 2)
    encryption.set_current_keyring(Keyring([NEW, OLD]))

    _, facts = _rotate(tenants_cli)

    assert (facts["tenants"], facts["resealed"]) == (3, 16)
