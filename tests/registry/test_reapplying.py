"""What was erased is erased again when an older copy of the database comes back."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import text

from tests.flows.conftest import RealCarrier
from tests.support import known_caller, owner
from tests.support.carrier_line import CarrierLine
from tests.support.evidence import Evidence
from tests.support.known_caller import Canary, dump, kept_files
from tests.support.lifecycle import Terminal
from tests.support.recorded import files
from tests.support.world import Tenant, World
from vca.kit import json, storage
from vca.kit.storage import StorageError
from vca.settings import Settings
from vca.telephony import providers


@pytest.fixture
def who() -> Canary:
    """Somebody who calls."""
    return known_caller.canary()


@pytest.fixture
def line(operator: World, settings: Settings) -> CarrierLine:
    """The line of a carrier of real callers, where the terminal is."""
    carrier = RealCarrier(f"fake-carrier|{settings.secret_key}")
    providers.set_current_carriers(providers.Carriers(settings)).register(carrier)
    return CarrierLine(carrier, operator.api(None))


@pytest.fixture
def known(operator: World, line: CarrierLine, who: Canary) -> Tenant:
    """Acme, which knows the known_caller."""
    acme = operator.tenant("Acme")
    carrier = line._carrier
    assert isinstance(carrier, RealCarrier)
    known_caller.calls(operator, acme, line, carrier, who, known_caller.premises(acme))
    return acme


@pytest.fixture
def backup(known: Tenant, terminal: Terminal, tmp_path: Path) -> Path:
    """All of acme's rows as they were before anybody was erased."""
    file = tmp_path / "acme.zip"
    terminal.json("export", known.id, file)
    return file


def _privacy(app: Flask, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["privacy", *words])


def _reapply(app: Flask, *words: str) -> Any:
    result = _privacy(app, "reapply", "--json", *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _erase(tenant: Tenant, operator: World, who: Canary) -> str:
    erasure: str = tenant.post("/privacy/erase", {"number": who.number}).json["id"]
    operator.work(tenant)
    assert tenant.get(f"/privacy/erasures/{erasure}").json["status"] == "done"
    return erasure


def _restore(terminal: Terminal, backup: Path) -> None:
    """Bring the rows back, as a restore of the database does: without any job."""
    terminal.json("import", backup, "--replace", "--yes")
    with owner.public() as session:
        session.execute(text("DELETE FROM jobs.procrastinate_jobs"))


def test_a_restored_database_is_erased_again_by_a_command(
    terminal: Terminal,
    operator: World,
    witness: Evidence,
    backup: Path,
    known: Tenant,
    who: Canary,
) -> None:
    erasure = _erase(known, operator, who)
    _restore(terminal, backup)
    assert len(who.found_in(dump(witness, known))) > 10

    told = _reapply(terminal.app)

    assert told == {"tenants": 1, "erased_again": {known.id: [erasure]}, "left_out": []}
    assert who.found_in(dump(witness, known)) == []
    assert files(known) == []
    operator.work(known)
    assert known.get(f"/privacy/erasures/{erasure}").json["status"] == "done"


def test_an_imported_archive_is_erased_again_by_itself(
    terminal: Terminal,
    operator: World,
    witness: Evidence,
    backup: Path,
    known: Tenant,
    who: Canary,
) -> None:
    _erase(known, operator, who)
    terminal.json("import", backup, "--replace", "--yes")

    assert "privacy.reapply" in operator.work(known)

    assert who.found_in(dump(witness, known)) == []


def test_a_copy_under_another_id_is_erased_too(
    terminal: Terminal,
    operator: World,
    witness: Evidence,
    backup: Path,
    known: Tenant,
    who: Canary,
) -> None:
    _erase(known, operator, who)
    id = terminal.json("import", backup)["tenant_id"]
    copy = Tenant(id, operator.api(None), "")
    assert len(who.found_in(dump(witness, copy))) > 10

    operator.work(copy)
    operator.work(copy)

    assert who.found_in(dump(witness, copy)) == []


def test_who_was_not_erased_and_who_calls_again_stay(
    terminal: Terminal, operator: World, line: CarrierLine, known: Tenant, who: Canary
) -> None:
    _erase(known, operator, who)
    numbers = [number["did_number"] for number in known.get("/phone-numbers").json]
    state = line.ring(numbers[-1], "again", who.number)["state"]
    line.status("again", "completed", state=state)
    other = known_caller.canary()
    state = line.ring(numbers[-1], "other", other.number)["state"]
    line.status("other", "completed", state=state)

    _reapply(terminal.app, "--tenant", known.id)

    callers = {call["caller_number"] for call in known.get("/calls").json}
    assert {who.number, other.number} <= callers


def test_an_erasure_that_was_not_done_when_the_copy_was_made_is_done(
    terminal: Terminal,
    operator: World,
    witness: Evidence,
    known: Tenant,
    who: Canary,
    tmp_path: Path,
) -> None:
    known.post("/privacy/erase", {"number": who.number})
    file = tmp_path / "asked.zip"
    terminal.json("export", known.id, file)
    _restore(terminal, file)

    _reapply(terminal.app)
    operator.work(known)

    assert who.found_in(dump(witness, known)) == []


def test_the_ledger_tells_nobody_whom_it_is_about(
    operator: World, known: Tenant, who: Canary
) -> None:
    _erase(known, operator, who)

    [entry] = [path for path in kept_files() if known.ref.id.hex in str(path)]
    kept = json.loads(entry.read_bytes())
    assert set(kept) == {"id", "tenant_id", "number_hash", "asked_at", "erased_at", "removed"}
    assert who.found_in([entry.read_text()]) == []
    assert UUID(kept["tenant_id"]) == known.ref.id
    assert kept["removed"]["calls"] == 3


def test_a_store_that_is_away_is_said_in_a_sentence(
    terminal: Terminal, known: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageError("away", permanent=False)

    monkeypatch.setattr(type(storage.current_store()), "keys", away)

    result = _privacy(terminal.app, "reapply")

    assert result.exit_code == 1
    assert "ledger of erasures is away" in result.output
    assert "Traceback" not in result.output
