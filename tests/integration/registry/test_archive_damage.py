"""Archives that are not as they were written: refused, and nothing of them is there afterwards."""

import random
from collections.abc import Callable
from pathlib import Path

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

TURNS, EVENTS, CALLS = (f"tenant/{name}.csv" for name in ("turns", "call_events", "calls"))
OTHER = "5ca1ab1e-0000-4000-8000-000000000001"


@pytest.fixture
def template_builder() -> Builder:
    """There is a tenant with rows in every table."""
    return database_templates.one_populated


@pytest.fixture
def leaves_database_dirty() -> bool:
    """What is refused leaves everything as it was."""
    return False


@pytest.fixture(scope="module")
def archives() -> dict[str, bytes]:
    """Those that were made, by their tenant."""
    return {}


@pytest.fixture
def file(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    archives: dict[str, bytes],
    tmp_path: Path,
) -> Path:
    """A sound archive."""
    target = tmp_path / "acme.zip"
    if populated_tenant.tenant.id not in archives:
        tenants_cli.invoke_json("export", populated_tenant.tenant.id, target)
        archives[populated_tenant.tenant.id] = target.read_bytes()
    target.write_bytes(archives[populated_tenant.tenant.id])
    return target


def _swap(members: Members) -> None:
    members[TURNS], members[EVENTS] = members[EVENTS], members[TURNS]


def _flip(members: Members) -> None:
    content = bytearray(members[TURNS])
    content[len(content) // 2] ^= 1
    members[TURNS] = bytes(content)


def _shorten(members: Members) -> None:
    members[TURNS] = members[TURNS][:-20]


def _lengthen(members: Members) -> None:
    members[TURNS] += b"\n" * 1_000_000


def _leave_out(members: Members) -> None:
    del members[TURNS]


def _add(members: Members) -> None:
    members["tenant/extra.csv"] = b""


def _escape(members: Members) -> None:
    members["../../etc/passwd"] = b""


def _no_manifest(members: Members) -> None:
    del members["manifest.json"]


def _no_json(members: Members) -> None:
    members["manifest.json"] = b"{"


def _huge_manifest(members: Members) -> None:
    members["manifest.json"] += b" " * 2_000_000


@pytest.mark.parametrize(
    "damage",
    [
        _swap,
        _flip,
        _shorten,
        _lengthen,
        _leave_out,
        _add,
        _escape,
        _no_manifest,
        _no_json,
        _huge_manifest,
    ],
)
def test_what_the_manifest_does_not_vouch_for_is_refused(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    file: Path,
    damage: Callable[[Members], None],
) -> None:
    before = import_snapshot(db_snapshot)
    bad = rewrite_archive(file, file.with_name("bad.zip"), damage)

    assert "damaged" in tenants_cli.invoke_failing("import", bad)
    assert "damaged" in tenants_cli.invoke_failing("import", bad, "--replace", "--yes")

    assert import_snapshot(db_snapshot) == before


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_an_archive_that_was_cut_short_is_refused(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, file: Path, part: float
) -> None:
    before = import_snapshot(db_snapshot)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])

    assert "damaged" in tenants_cli.invoke_failing("import", file)

    assert import_snapshot(db_snapshot) == before


def test_no_flipped_bit_comes_through(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    """Refused, or without effect: a zip has bytes that mean nothing, such as times."""
    sound, before = file.read_bytes(), import_snapshot(db_snapshot)
    rows = tenant_rows(db_snapshot, populated_tenant.tenant.id)
    chance = random.Random(4711)
    flips = [(chance.randrange(len(sound)), 1 << chance.randrange(8)) for _ in range(150)]
    refused = 0
    for place, bit in flips:
        content = bytearray(sound)
        content[place] ^= bit
        file.write_bytes(content)

        result = tenants_cli.invoke("import", file, "--json")

        assert result.exit_code in (0, 1), result.output
        assert "Traceback" not in result.output
        if result.exit_code == 1:
            refused += 1
        else:
            arrived = json.loads(result.stdout)["tenant_id"]
            there = tenant_rows(db_snapshot, arrived)
            assert there.pop("phone_numbers")
            assert set(rows["audit_entries"]) < set(there.pop("audit_entries"))
            assert there == {name: rows[name] for name in there}
            tenants_cli.invoke_json("erase", arrived, "--yes")
    assert import_snapshot(db_snapshot) == before
    assert refused > 100


def _said(change: Callable[[dict[str, object]], object]) -> Callable[[Members], None]:
    def rewrite(members: Members) -> None:
        manifest = read_manifest(members)
        change(manifest)
        members["manifest.json"] = json.dumps(manifest)

    return rewrite


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_said(lambda it: it.update(version=2)), "this release reads vca-tenant 1"),
        (_said(lambda it: it.update(format="other")), "this release reads vca-tenant 1"),
        (_said(lambda it: it.update(schema_revision="9999")), "newer release"),
        (_said(lambda it: it.update(tenant_id="acme")), "manifest is invalid"),
        (_said(lambda it: it.update(tenant={})), "archived tenant is invalid"),
        (_said(lambda it: it["tenant"].update(name=5)), "archived tenant is invalid"),  # type: ignore[attr-defined]
        (_said(lambda it: it["tenant"].update(plan="free")), "archived tenant is invalid"),  # type: ignore[attr-defined]
        (_said(lambda it: it["members"][0].update(rows=99)), "rows instead of 99"),  # type: ignore[index]
        (_said(lambda it: it["members"][0].update(columns=["id"])), "columns"),  # type: ignore[index]
    ],
)
def test_what_this_code_cannot_read_is_refused_with_the_reason(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    file: Path,
    change: Callable[[Members], None],
    said: str,
) -> None:
    before = import_snapshot(db_snapshot)
    bad = rewrite_archive(file, file.with_name("bad.zip"), change)

    assert said in tenants_cli.invoke_failing("import", bad)

    assert import_snapshot(db_snapshot) == before


def _forged(change: Callable[[Members], None]) -> Callable[[Members], None]:
    """Changed, with a manifest that vouches for the change."""

    def rewrite(members: Members) -> None:
        change(members)
        restamp_manifest(members, read_manifest(members))

    return rewrite


def _replaced(name: str, old: bytes, new: bytes) -> Callable[[Members], None]:
    def replace(members: Members) -> None:
        assert old in members[name]
        members[name] = members[name].replace(old, new)

    return replace


@pytest.mark.parametrize(
    "change",
    [
        _replaced(TURNS, b"agent", b"robot"),
        _replaced(CALLS, b"inbound", b"outside"),
        _replaced(TURNS, b"speaker", b"speaking"),
        _replaced(EVENTS, b"-", b"!"),
    ],
)
def test_rows_that_do_not_fit_are_refused_even_if_the_manifest_vouches(
    tenants_cli: TenantsCli,
    db_snapshot: SnapshotChecker,
    file: Path,
    change: Callable[[Members], None],
) -> None:
    before = import_snapshot(db_snapshot)
    bad = rewrite_archive(file, file.with_name("bad.zip"), _forged(change))

    assert "tenant/" in tenants_cli.invoke_failing("import", bad)

    assert import_snapshot(db_snapshot) == before


def test_a_row_that_refers_to_none_is_refused(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, file: Path
) -> None:
    def rename_a_call(members: Members) -> None:
        header, _, rows = members[CALLS].partition(b"\n")
        members[CALLS] = header + b"\n" + OTHER.encode() + rows[36:]

    before = import_snapshot(db_snapshot)
    bad = rewrite_archive(file, file.with_name("bad.zip"), _forged(rename_a_call))

    assert "call_events_call_id_fkey" in tenants_cli.invoke_failing("import", bad)

    assert import_snapshot(db_snapshot) == before


def test_rows_of_another_tenant_are_refused(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    before = import_snapshot(db_snapshot)
    change = _replaced(TURNS, populated_tenant.tenant.id.encode(), OTHER.encode())
    bad = rewrite_archive(file, file.with_name("bad.zip"), _forged(change))

    assert "tenant/turns.csv was rejected" in tenants_cli.invoke_failing("import", bad)
    assert "tenant/turns.csv was rejected" in tenants_cli.invoke_failing(
        "import", bad, "--replace", "--yes"
    )

    assert import_snapshot(db_snapshot) == before


@pytest.mark.parametrize("leaves_database_dirty", [True])
def test_an_archive_cannot_take_another_tenants_numbers_or_keys(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    globex = template_world.tenant("Globex")
    number = globex.number()["did_number"]
    before = db_snapshot.checksum(globex.id)
    change = _replaced("public/dids.csv", populated_tenant.did_number.encode(), number.encode())
    bad = rewrite_archive(file, file.with_name("bad.zip"), _forged(change))

    imported = tenants_cli.invoke_json("import", bad, "--replace", "--yes")

    assert imported["numbers_taken"] == [number]
    assert db_snapshot.checksum(globex.id) == before


def test_a_file_that_is_not_there_or_no_zip_is_one_sentence(
    tenants_cli: TenantsCli, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("hello")

    assert "does not exist" in tenants_cli.invoke_failing("import", tmp_path / "missing.zip")
    assert "not a zip file" in tenants_cli.invoke_failing("import", tmp_path / "text")
