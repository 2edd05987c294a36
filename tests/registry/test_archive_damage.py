"""Archives that are not as they were written: refused, and nothing of them is there afterwards."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import houses
from tests.support.evidence import Evidence
from tests.support.houses import Builder
from tests.support.lifecycle import (
    Members,
    Terminal,
    everything,
    manifest_of,
    restamped,
    rewritten,
    rows_of,
)
from tests.support.premises import Premises
from tests.support.world import World
from vca.kit import json

TURNS, EVENTS, CALLS = (f"tenant/{name}.csv" for name in ("turns", "call_events", "calls"))
OTHER = "5ca1ab1e-0000-4000-8000-000000000001"


@pytest.fixture
def built() -> Builder:
    """There is a tenant with rows in every table."""
    return houses.furnished


@pytest.fixture
def spoilt() -> bool:
    """What is refused leaves everything as it was."""
    return False


@pytest.fixture(scope="module")
def archives() -> dict[str, bytes]:
    """Those that were made, by their tenant."""
    return {}


@pytest.fixture
def file(
    terminal: Terminal, furnished: Premises, archives: dict[str, bytes], tmp_path: Path
) -> Path:
    """A sound archive."""
    target = tmp_path / "acme.zip"
    if furnished.tenant.id not in archives:
        terminal.json("export", furnished.tenant.id, target)
        archives[furnished.tenant.id] = target.read_bytes()
    target.write_bytes(archives[furnished.tenant.id])
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
    terminal: Terminal,
    witness: Evidence,
    file: Path,
    damage: Callable[[Members], None],
) -> None:
    before = everything(witness)
    bad = rewritten(file, file.with_name("bad.zip"), damage)

    assert "damaged" in terminal.refused("import", bad)
    assert "damaged" in terminal.refused("import", bad, "--replace", "--yes")

    assert everything(witness) == before


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_an_archive_that_was_cut_short_is_refused(
    terminal: Terminal, witness: Evidence, file: Path, part: float
) -> None:
    before = everything(witness)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])

    assert "damaged" in terminal.refused("import", file)

    assert everything(witness) == before


def test_no_flipped_bit_comes_through(
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path
) -> None:
    """Refused, or without effect: a zip has bytes that mean nothing, such as times."""
    sound, before = file.read_bytes(), everything(witness)
    rows = rows_of(witness, furnished.tenant.id)
    chance = random.Random(4711)
    flips = [(chance.randrange(len(sound)), 1 << chance.randrange(8)) for _ in range(150)]
    refused = 0
    for place, bit in flips:
        content = bytearray(sound)
        content[place] ^= bit
        file.write_bytes(content)

        result = terminal.run("import", file, "--json")

        assert result.exit_code in (0, 1), result.output
        assert "Traceback" not in result.output
        if result.exit_code == 1:
            refused += 1
        else:
            arrived = json.loads(result.stdout)["tenant_id"]
            there = rows_of(witness, arrived)
            assert there.pop("phone_numbers")
            assert set(rows["audit_entries"]) < set(there.pop("audit_entries"))
            assert there == {name: rows[name] for name in there}
            terminal.json("erase", arrived, "--yes")
    assert everything(witness) == before
    assert refused > 100


def _said(change: Callable[[dict[str, object]], object]) -> Callable[[Members], None]:
    def rewrite(members: Members) -> None:
        manifest = manifest_of(members)
        change(manifest)
        members["manifest.json"] = json.dumps(manifest)

    return rewrite


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_said(lambda it: it.update(version=2)), "this code reads vca-tenant 1"),
        (_said(lambda it: it.update(format="other")), "this code reads vca-tenant 1"),
        (_said(lambda it: it.update(schema_revision="9999")), "newer release"),
        (_said(lambda it: it.update(tenant_id="acme")), "manifest is not one"),
        (_said(lambda it: it.update(tenant={})), "does not fit"),
        (_said(lambda it: it["tenant"].update(name=5)), "does not fit"),  # type: ignore[attr-defined]
        (_said(lambda it: it["tenant"].update(plan="free")), "does not fit"),  # type: ignore[attr-defined]
        (_said(lambda it: it["members"][0].update(rows=99)), "rows and not 99"),  # type: ignore[index]
        (_said(lambda it: it["members"][0].update(columns=["id"])), "columns"),  # type: ignore[index]
    ],
)
def test_what_this_code_cannot_read_is_refused_with_the_reason(
    terminal: Terminal,
    witness: Evidence,
    file: Path,
    change: Callable[[Members], None],
    said: str,
) -> None:
    before = everything(witness)
    bad = rewritten(file, file.with_name("bad.zip"), change)

    assert said in terminal.refused("import", bad)

    assert everything(witness) == before


def _forged(change: Callable[[Members], None]) -> Callable[[Members], None]:
    """Changed, with a manifest that vouches for the change."""

    def rewrite(members: Members) -> None:
        change(members)
        restamped(members, manifest_of(members))

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
    terminal: Terminal, witness: Evidence, file: Path, change: Callable[[Members], None]
) -> None:
    before = everything(witness)
    bad = rewritten(file, file.with_name("bad.zip"), _forged(change))

    assert "tenant/" in terminal.refused("import", bad)

    assert everything(witness) == before


def test_a_row_that_refers_to_none_is_refused(
    terminal: Terminal, witness: Evidence, file: Path
) -> None:
    def rename_a_call(members: Members) -> None:
        header, _, rows = members[CALLS].partition(b"\n")
        members[CALLS] = header + b"\n" + OTHER.encode() + rows[36:]

    before = everything(witness)
    bad = rewritten(file, file.with_name("bad.zip"), _forged(rename_a_call))

    assert "call_events_call_id_fkey" in terminal.refused("import", bad)

    assert everything(witness) == before


def test_rows_of_another_tenant_are_refused(
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path
) -> None:
    before = everything(witness)
    change = _replaced(TURNS, furnished.tenant.id.encode(), OTHER.encode())
    bad = rewritten(file, file.with_name("bad.zip"), _forged(change))

    assert "tenant/turns.csv does not fit" in terminal.refused("import", bad)
    assert "tenant/turns.csv does not fit" in terminal.refused("import", bad, "--replace", "--yes")

    assert everything(witness) == before


@pytest.mark.parametrize("spoilt", [True])
def test_an_archive_cannot_take_another_tenants_numbers_or_keys(
    terminal: Terminal, operator: World, furnished: Premises, witness: Evidence, file: Path
) -> None:
    globex = operator.tenant("Globex")
    number = globex.number()["did_number"]
    before = witness.checksum(globex.id)
    change = _replaced("public/dids.csv", furnished.did_number.encode(), number.encode())
    bad = rewritten(file, file.with_name("bad.zip"), _forged(change))

    imported = terminal.json("import", bad, "--replace", "--yes")

    assert imported["numbers_taken"] == [number]
    assert witness.checksum(globex.id) == before


def test_a_file_that_is_not_there_or_no_zip_is_one_sentence(
    terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("hello")

    assert "is not there" in terminal.refused("import", tmp_path / "missing.zip")
    assert "no zip file" in terminal.refused("import", tmp_path / "text")
