"""Tests of damaged and forged archives: the import rejects them and changes nothing."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import database_templates
from tests.support.database_templates import Builder
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory
from tests.support.populated_tenant import PopulatedTenant
from tests.support.tenants_cli import (
    Members,
    TenantsCli,
    import_snapshot,
    read_manifest,
    restamp_manifest,
    rewrite_archive,
    tenant_rows,
)
from vca.kit import json

TURNS_FILE, EVENTS_FILE, CALLS_FILE = (
    f"tenant/{name}.csv" for name in ("turns", "call_events", "calls")
)
OTHER_ID = "5ca1ab1e-0000-4000-8000-000000000001"


@pytest.fixture
def template_builder() -> Builder:
    """Return the builder of a tenant with rows in every table."""
    return database_templates.one_populated


@pytest.fixture
def leaves_database_dirty() -> bool:
    """Return False, because a rejected import changes nothing."""
    return False


@pytest.fixture(scope="module")
def archives() -> dict[str, bytes]:
    """Return a cache of valid archives by tenant id."""
    return {}


@pytest.fixture
def archive_path(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    archives: dict[str, bytes],
    tmp_path: Path,
) -> Path:
    """Return the path of a valid archive."""
    target = tmp_path / "acme.zip"
    if populated_tenant.tenant.id not in archives:
        tenants_cli.invoke_json("export", populated_tenant.tenant.id, target)
        archives[populated_tenant.tenant.id] = target.read_bytes()
    target.write_bytes(archives[populated_tenant.tenant.id])
    return target


def _swap_members(members: Members) -> None:
    members[TURNS_FILE], members[EVENTS_FILE] = members[EVENTS_FILE], members[TURNS_FILE]


def _flip_bit(members: Members) -> None:
    content = bytearray(members[TURNS_FILE])
    content[len(content) // 2] ^= 1
    members[TURNS_FILE] = bytes(content)


def _truncate_member(members: Members) -> None:
    members[TURNS_FILE] = members[TURNS_FILE][:-20]


def _extend_member(members: Members) -> None:
    members[TURNS_FILE] += b"\n" * 1_000_000


def _remove_member(members: Members) -> None:
    del members[TURNS_FILE]


def _add_member(members: Members) -> None:
    members["tenant/extra.csv"] = b""


def _add_member_outside(members: Members) -> None:
    members["../../etc/passwd"] = b""


def _remove_manifest(members: Members) -> None:
    del members["manifest.json"]


def _break_manifest_json(members: Members) -> None:
    members["manifest.json"] = b"{"


def _enlarge_manifest(members: Members) -> None:
    members["manifest.json"] += b" " * 2_000_000


@pytest.mark.parametrize(
    "damage",
    [
        _swap_members,
        _flip_bit,
        _truncate_member,
        _extend_member,
        _remove_member,
        _add_member,
        _add_member_outside,
        _remove_manifest,
        _break_manifest_json,
        _enlarge_manifest,
    ],
)
def test_an_import_rejects_an_archive_that_contradicts_its_manifest(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
    damage: Callable[[Members], None],
) -> None:
    before = import_snapshot(db_snapshot)
    bad_archive = rewrite_archive(archive_path, archive_path.with_name("bad.zip"), damage)

    assert "damaged" in tenants_cli.invoke_failing("import", bad_archive)
    assert "damaged" in tenants_cli.invoke_failing("import", bad_archive, "--replace", "--yes")

    assert import_snapshot(db_snapshot) == before


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_an_import_rejects_a_truncated_archive(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, archive_path: Path, fraction: float
) -> None:
    before = import_snapshot(db_snapshot)
    content = archive_path.read_bytes()
    archive_path.write_bytes(content[: int(len(content) * fraction)])

    assert "damaged" in tenants_cli.invoke_failing("import", archive_path)

    assert import_snapshot(db_snapshot) == before


def test_an_import_never_stores_data_with_a_flipped_bit(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    """An import may accept a flipped bit without meaning, such as one of a timestamp."""
    valid_archive, before = archive_path.read_bytes(), import_snapshot(db_snapshot)
    rows = tenant_rows(db_snapshot, populated_tenant.tenant.id)
    rng = random.Random(4711)
    bit_flips = [(rng.randrange(len(valid_archive)), 1 << rng.randrange(8)) for _ in range(150)]
    rejections = 0
    for position, bit in bit_flips:
        content = bytearray(valid_archive)
        content[position] ^= bit
        archive_path.write_bytes(content)

        result = tenants_cli.invoke("import", archive_path, "--json")

        assert result.exit_code in (0, 1), result.output
        assert "Traceback" not in result.output
        if result.exit_code == 1:
            rejections += 1
        else:
            imported_id = json.loads(result.stdout)["tenant_id"]
            imported_rows = tenant_rows(db_snapshot, imported_id)
            assert imported_rows.pop("phone_numbers")
            assert set(rows["audit_entries"]) < set(imported_rows.pop("audit_entries"))
            assert imported_rows == {name: rows[name] for name in imported_rows}
            tenants_cli.invoke_json("erase", imported_id, "--yes")
    assert import_snapshot(db_snapshot) == before
    assert rejections > 100


def _change_manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Members], None]:
    def rewrite(members: Members) -> None:
        manifest = read_manifest(members)
        change(manifest)
        members["manifest.json"] = json.dumps(manifest)

    return rewrite


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _change_manifest(lambda manifest: manifest.update(version=2)),
            "this release reads vca-tenant 1",
        ),
        (
            _change_manifest(lambda manifest: manifest.update(format="other")),
            "this release reads vca-tenant 1",
        ),
        (
            _change_manifest(lambda manifest: manifest.update(schema_revision="9999")),
            "newer release",
        ),
        (
            _change_manifest(lambda manifest: manifest.update(tenant_id="acme")),
            "manifest is invalid",
        ),
        (
            _change_manifest(lambda manifest: manifest.update(tenant={})),
            "archived tenant is invalid",
        ),
        (
            _change_manifest(lambda manifest: manifest["tenant"].update(name=5)),
            "archived tenant is invalid",
        ),
        (
            _change_manifest(lambda manifest: manifest["tenant"].update(plan="free")),
            "archived tenant is invalid",
        ),
        (
            _change_manifest(lambda manifest: manifest["members"][0].update(rows=99)),
            "rows instead of 99",
        ),
        (
            _change_manifest(lambda manifest: manifest["members"][0].update(columns=["id"])),
            "columns",
        ),
    ],
)
def test_an_import_rejects_an_unreadable_manifest_with_the_reason(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
    change: Callable[[Members], None],
    message: str,
) -> None:
    before = import_snapshot(db_snapshot)
    bad_archive = rewrite_archive(archive_path, archive_path.with_name("bad.zip"), change)

    assert message in tenants_cli.invoke_failing("import", bad_archive)

    assert import_snapshot(db_snapshot) == before


def _with_valid_checksums(change: Callable[[Members], None]) -> Callable[[Members], None]:
    """Return a function that changes the members and updates the checksums in the manifest."""

    def rewrite(members: Members) -> None:
        change(members)
        restamp_manifest(members, read_manifest(members))

    return rewrite


def _replace_bytes(name: str, old: bytes, new: bytes) -> Callable[[Members], None]:
    def replace(members: Members) -> None:
        assert old in members[name]
        members[name] = members[name].replace(old, new)

    return replace


@pytest.mark.parametrize(
    "change",
    [
        _replace_bytes(TURNS_FILE, b"agent", b"robot"),
        _replace_bytes(CALLS_FILE, b"inbound", b"outside"),
        _replace_bytes(TURNS_FILE, b"speaker", b"speaking"),
        _replace_bytes(EVENTS_FILE, b"-", b"!"),
    ],
)
def test_an_import_rejects_invalid_rows_with_valid_checksums(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
    change: Callable[[Members], None],
) -> None:
    before = import_snapshot(db_snapshot)
    bad_archive = rewrite_archive(
        archive_path, archive_path.with_name("bad.zip"), _with_valid_checksums(change)
    )

    assert "tenant/" in tenants_cli.invoke_failing("import", bad_archive)

    assert import_snapshot(db_snapshot) == before


def test_an_import_rejects_a_row_with_a_dangling_reference(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, archive_path: Path
) -> None:
    def rename_a_call(members: Members) -> None:
        header, _, rows = members[CALLS_FILE].partition(b"\n")
        members[CALLS_FILE] = header + b"\n" + OTHER_ID.encode() + rows[36:]

    before = import_snapshot(db_snapshot)
    bad_archive = rewrite_archive(
        archive_path, archive_path.with_name("bad.zip"), _with_valid_checksums(rename_a_call)
    )

    assert "call_events_call_id_fkey" in tenants_cli.invoke_failing("import", bad_archive)

    assert import_snapshot(db_snapshot) == before


def test_an_import_rejects_rows_of_another_tenant(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    before = import_snapshot(db_snapshot)
    change = _replace_bytes(TURNS_FILE, populated_tenant.tenant.id.encode(), OTHER_ID.encode())
    bad_archive = rewrite_archive(
        archive_path, archive_path.with_name("bad.zip"), _with_valid_checksums(change)
    )

    assert "tenant/turns.csv was rejected" in tenants_cli.invoke_failing("import", bad_archive)
    assert "tenant/turns.csv was rejected" in tenants_cli.invoke_failing(
        "import", bad_archive, "--replace", "--yes"
    )

    assert import_snapshot(db_snapshot) == before


@pytest.mark.parametrize("leaves_database_dirty", [True])
def test_an_archive_cannot_take_another_tenants_numbers_or_keys(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    globex = template_world.tenant("Globex")
    number = globex.number()["did_number"]
    before = db_snapshot.checksum(globex.id)
    change = _replace_bytes(
        "public/dids.csv", populated_tenant.did_number.encode(), number.encode()
    )
    bad_archive = rewrite_archive(
        archive_path, archive_path.with_name("bad.zip"), _with_valid_checksums(change)
    )

    imported = tenants_cli.invoke_json("import", bad_archive, "--replace", "--yes")

    assert imported["numbers_taken"] == [number]
    assert db_snapshot.checksum(globex.id) == before


def test_an_import_of_a_missing_file_or_no_zip_file_fails_with_a_message(
    tenants_cli: TenantsCli, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("hello")

    assert "does not exist" in tenants_cli.invoke_failing("import", tmp_path / "missing.zip")
    assert "not a zip file" in tenants_cli.invoke_failing("import", tmp_path / "text")
