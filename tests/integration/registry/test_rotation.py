"""Tests of `flask secrets rotate`, which re-encrypts all secrets with the current key."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from tests.support.database_templates import Builder
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from tests.support.locks import open_transaction
from tests.support.services import app_services, open_database, use_services
from tests.support.tenants_cli import TenantsCli
from vca.kit import clock, db, json
from vca.kit.db import Database
from vca.kit.encryption import DecryptionError, EncryptionContext, Keyring
from vca.registry.webhooks import endpoints
from vca.registry.webhooks.platform_scope import PLATFORM_SCOPE
from vca.registry.webhooks.scope import WebhookScope
from vca.tenant.key_rotation import rotation
from vca.tenant.webhooks import tenant_scope

OLD_KEY, NEW_KEY, LOST_KEY = (os.urandom(32) for _ in range(3))


@pytest.fixture(autouse=True)
def _old_key(tenants_cli: TenantsCli) -> Iterator[None]:
    """Use the old key, and restore the process's keyring at the end."""
    with _use_key(OLD_KEY):
        yield


@contextmanager
def _use_key(key: bytes) -> Iterator[None]:
    before = app_services().keyring
    use_services(keyring=Keyring([key]))
    yield
    use_services(keyring=before)


def three_tenants(world: Factory) -> list[Tenant]:
    """Create three tenants with two webhooks each, whose secrets were rotated; delete the last."""
    tenants = [world.tenant(name) for name in ("Acme", "Globex", "Initech")]
    with _use_key(OLD_KEY):
        for tenant in tenants:
            _create_webhooks(tenant_scope.for_tenant(tenant.ref))
        _create_webhooks(PLATFORM_SCOPE)
    world.platform().api.patch(tenants[2].url(), {"status": "deleted"})
    return tenants


@pytest.fixture
def template_builder() -> Builder:
    """Return the builder of three tenants."""
    return three_tenants


@pytest.fixture
def tenants(template_payload: list[Tenant]) -> list[Tenant]:
    """Return the three tenants."""
    return template_payload


def _create_webhooks(scope: WebhookScope) -> None:
    with scope.open_session(app_services().database) as session:
        for _ in range(2):
            row, _ = endpoints.create(
                session, scope, url="https://example.com/", is_active=False, services=app_services()
            )
            endpoints.rotate_secret(
                session, scope, webhook_id=row.id, now=clock.now(), services=app_services()
            )


def _stored_values(
    db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> dict[EncryptionContext, bytes]:
    """Return every stored secret by its context, still encrypted."""
    values: dict[EncryptionContext, bytes] = {}
    for owner_id in (None, *(UUID(tenant.id) for tenant in tenants)):
        schema = f"t_{owner_id.hex}" if owner_id else "public"
        for column in ("secret", "previous_secret"):
            rows = db_snapshot.rows(f'SELECT id, {column} FROM "{schema}".webhooks')
            values |= {
                EncryptionContext(owner_id, "webhooks", UUID(str(row_id)), column): bytes(value)
                for row_id, value in rows
            }
    return values


def _decrypt_all(
    keyring: Keyring, encrypted: dict[EncryptionContext, bytes]
) -> dict[EncryptionContext, str]:
    return {context: keyring.decrypt(value, context) for context, value in encrypted.items()}


def _rotate(tenants_cli: TenantsCli, *arguments: str) -> tuple[int, Any]:
    runner = tenants_cli.app.test_cli_runner()
    result = runner.invoke(args=["secrets", "rotate", *arguments, "--json"])
    assert result.exit_code in (0, 1), result.output
    return result.exit_code, json.loads(result.stdout)


def test_a_rotation_re_encrypts_all_secrets_with_the_new_key(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    before = _decrypt_all(Keyring([OLD_KEY]), _stored_values(db_snapshot, tenants))
    use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))

    exit_code, result = _rotate(tenants_cli)

    assert (exit_code, result["tenants"], result["resealed"]) == (0, 3, 16)
    assert (result["left"], result["unreadable"]) == (0, {})
    assert _decrypt_all(Keyring([NEW_KEY]), _stored_values(db_snapshot, tenants)) == before
    assert len(before) == 16


def test_a_second_rotation_changes_nothing(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))
    _rotate(tenants_cli)
    before = _stored_values(db_snapshot, tenants)

    exit_code, result = _rotate(tenants_cli)

    assert (exit_code, result["resealed"]) == (0, 0)
    assert _stored_values(db_snapshot, tenants) == before


def test_a_dry_run_counts_and_changes_nothing(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    before = _stored_values(db_snapshot, tenants)
    use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))

    exit_code, result = _rotate(tenants_cli, "--dry-run")

    assert (exit_code, result["resealed"], result["dry_run"]) == (0, 16, True)
    assert _stored_values(db_snapshot, tenants) == before


class Killed(BaseException):
    """The simulated end of the process."""


def test_a_second_run_finishes_a_killed_one_and_all_secrets_stay_readable(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    tenants: list[Tenant],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = _decrypt_all(Keyring([OLD_KEY]), _stored_values(db_snapshot, tenants))
    keyring = Keyring([NEW_KEY, OLD_KEY])
    use_services(keyring=keyring)
    write_count = 0
    execute_script = db.execute_script

    def execute_or_die(connection: Any, statements: str) -> None:
        nonlocal write_count
        assert _decrypt_all(keyring, _stored_values(db_snapshot, tenants)) == before
        if "webhooks" in statements:
            write_count += 1
            if write_count == 3:
                raise Killed
        execute_script(connection, statements)

    with monkeypatch.context() as patch:
        patch.setattr(db, "execute_script", execute_or_die)
        with pytest.raises(Killed):
            _rotate(tenants_cli)
    halfway = _stored_values(db_snapshot, tenants)

    exit_code, result = _rotate(tenants_cli)

    assert {keyring.uses_current_key(value) for value in halfway.values()} == {True, False}
    assert _decrypt_all(keyring, halfway) == before
    assert (exit_code, result["resealed"]) == (0, 8)
    assert _decrypt_all(Keyring([NEW_KEY]), _stored_values(db_snapshot, tenants)) == before


def test_concurrent_rotations_all_complete(
    owner_database: Database, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    before = _decrypt_all(Keyring([OLD_KEY]), _stored_values(db_snapshot, tenants))
    use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))
    results: list[rotation.RotationResult] = []

    def rotate_in_own_pool() -> None:
        database = open_database(owner_database.dsn, pool_size=1)
        results.append(rotation.rotate(database, services=app_services()))
        database.close()

    threads = [threading.Thread(target=rotate_in_own_pool) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(result.complete for result in results)
    assert len(results) == 4
    assert _decrypt_all(Keyring([NEW_KEY]), _stored_values(db_snapshot, tenants)) == before


def test_a_rotation_does_not_overwrite_a_concurrent_change(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    tenants: list[Tenant],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rotate a webhook's secret with the old key before the run writes its re-encrypted value."""
    scope = tenant_scope.for_tenant(tenants[0].ref)
    [webhook_id] = [
        context.row_id for context in _stored_values(db_snapshot, tenants[:1]) if context.tenant_id
    ][:1]
    use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))
    new_secrets: list[str] = []
    write_values = rotation._write_values

    def change_secret_and_write(
        database: Database, re_encrypted: Mapping[rotation.OutdatedValue, bytes]
    ) -> None:
        if any(outdated.id == webhook_id for outdated in re_encrypted) and not new_secrets:
            use_services(keyring=Keyring([OLD_KEY]))
            with scope.open_session(app_services().database) as session:
                _, new_secret = endpoints.rotate_secret(
                    session, scope, webhook_id=webhook_id, now=clock.now(), services=app_services()
                )
                new_secrets.append(new_secret)
            use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))
        write_values(database, re_encrypted)

    monkeypatch.setattr(rotation, "_write_values", change_secret_and_write)
    exit_code, _ = _rotate(tenants_cli)

    secrets = _decrypt_all(Keyring([NEW_KEY]), _stored_values(db_snapshot, tenants))
    assert exit_code == 0
    assert secrets[scope.encryption_context(webhook_id, "secret")] == new_secrets[0]


def test_a_rotation_reports_rows_that_stay_locked(
    tenants_cli: TenantsCli,
    owner_database: Database,
    tenants: list[Tenant],
    db_snapshot: SnapshotChecker,
) -> None:
    use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))

    with open_transaction(
        owner_database.dsn, f'SELECT 1 FROM "{tenants[1].ref.schema}".webhooks FOR UPDATE'
    ):
        exit_code, result = _rotate(tenants_cli)

    assert (exit_code, result["left"], result["resealed"]) == (1, 4, 12)
    assert _rotate(tenants_cli)[0] == 0
    Keyring([NEW_KEY]).decrypt(
        *next(
            (value, context)
            for context, value in _stored_values(db_snapshot, tenants[1:2]).items()
            if context.tenant_id
        )
    )


def test_a_rotation_reports_unreadable_values_and_leaves_them_unchanged(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    acme_id, globex_id = (UUID(tenant.id) for tenant in tenants[:2])
    before = _stored_values(db_snapshot, tenants)
    context, _ = (
        context for context in before if context.tenant_id == acme_id and context.column == "secret"
    )
    foreign_value = next(
        value for context, value in before.items() if context.tenant_id == globex_id
    )
    table = f'"t_{acme_id.hex}".webhooks'
    db_snapshot.rows(
        f"UPDATE {table} SET secret = %s WHERE id = %s", foreign_value, context.row_id.hex
    )
    lost_key_value = Keyring([LOST_KEY]).encrypt("whsec_", context)
    db_snapshot.rows(
        f"UPDATE {table} SET previous_secret = %s WHERE id = %s", lost_key_value, context.row_id.hex
    )
    use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))

    exit_code, result = _rotate(tenants_cli)

    after = _stored_values(db_snapshot, tenants)
    assert (exit_code, result["resealed"], result["left"]) == (1, 14, 0)
    assert result["unreadable"] == {
        f"{acme_id} webhooks.secret": 1,
        f"{acme_id} webhooks.previous_secret": 1,
    }
    assert after[context] == foreign_value
    with pytest.raises(DecryptionError):
        Keyring([NEW_KEY, OLD_KEY]).decrypt(after[context], context)


def test_a_rotated_value_cannot_be_decrypted_in_another_context(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))
    _rotate(tenants_cli)

    encrypted = _stored_values(db_snapshot, tenants)

    for context, value in encrypted.items():
        for other_context in encrypted:
            if other_context != context:
                with pytest.raises(DecryptionError):
                    Keyring([NEW_KEY, OLD_KEY]).decrypt(value, other_context)


def test_a_rotation_skips_a_tenant_without_the_table(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    schema = tenants[0].ref.schema
    db_snapshot.rows(f'DROP TABLE "{schema}".webhooks CASCADE')
    use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))

    exit_code, result = _rotate(tenants_cli)

    assert (exit_code, result["tenants"], result["resealed"]) == (0, 3, 12)


def test_a_rotation_without_a_terminal_prints_json_lines_and_is_audited(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, tenants: list[Tenant]
) -> None:
    use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))

    result = tenants_cli.app.test_cli_runner().invoke(args=["secrets", "rotate"])

    start, end = (json.loads(line) for line in result.stdout.splitlines())
    assert (start["event"], start["tenants"]) == ("secrets.rotating", 3)
    assert (end["event"], end["resealed"]) == ("secrets.rotated", 16)
    query = "SELECT actor, operation FROM public.audit_entries ORDER BY id DESC LIMIT 1"
    assert db_snapshot.rows(query) == [("command_line", "secrets rotate")]


def test_a_rotation_processes_every_batch(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    tenants: list[Tenant],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    monkeypatch.setattr(rotation, "_TENANTS_PER_CONNECTION", 2)
    use_services(keyring=Keyring([NEW_KEY, OLD_KEY]))

    _, result = _rotate(tenants_cli)

    assert (result["tenants"], result["resealed"]) == (3, 16)
