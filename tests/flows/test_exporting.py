"""A caller's data as one file: all of theirs, nothing of others', for a day."""

import io
import zipfile
from typing import Any

import pytest

from tests.flows.conftest import RealCarrier
from tests.support import known_caller
from tests.support.carrier_line import CarrierLine
from tests.support.known_caller import Canary
from tests.support.recorded import files
from tests.support.world import Tenant, World
from vca.kit import json, storage
from vca.kit.storage import StorageError


@pytest.fixture
def who() -> Canary:
    """Somebody who calls."""
    return known_caller.canary()


@pytest.fixture
def known(world: World, acme: Tenant, line: CarrierLine, real: RealCarrier, who: Canary) -> Tenant:
    """Acme, which knows the canary, and somebody else who mentions it."""
    known_caller.calls(world, acme, line, real, who, known_caller.premises(acme))
    return acme


def _ordered(tenant: Tenant, who: Canary) -> str:
    """Where an export will be."""
    asked = tenant.post("/privacy/export", {"number": who.number})
    assert (asked.status_code, asked.json["status"]) == (202, "pending")
    where: str = asked.headers["Location"]
    return where


def _read(content: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {
            name: json.loads(archive.read(name)) if name.endswith("json") else archive.read(name)
            for name in archive.namelist()
        }


def test_everything_about_a_caller_is_in_one_file(known: Tenant, world: World, who: Canary) -> None:
    where = _ordered(known, who)
    early = known.api.get(f"{where}/file")
    world.work(known)

    export = known.api.get(where).json
    file = known.api.get(f"{where}/file")

    assert (early.status_code, early.json["code"]) == (404, "export-not-ready")
    assert export["status"] == "done"
    assert export["size_bytes"] == len(file.data)
    found = _read(file.data)
    calls = {name: it for name, it in found.items() if name.startswith("calls/")}
    assert export["holds"] == found["export.json"]["holds"]
    assert (export["holds"]["calls"], len(calls)) == (3, 3)
    said = [turn["text"] for call in calls.values() for turn in call["turns"]]
    assert f"I am {who.name}, {who.word} please" in said
    assert {call["caller_number"] for call in calls.values()} & {who.number}
    assert sorted(found[name] for name in found if name.startswith("audio/")) == sorted(
        who.word.encode() * times for times in (50, 60)
    )
    assert {message["kind"] for message in found["messages.json"]} == {"message", "voicemail"}
    assert any(call["summary"] for call in calls.values())


def test_what_others_said_is_named_by_its_place_only(
    known: Tenant, world: World, who: Canary
) -> None:
    where = _ordered(known, who)
    world.work(known)

    found = _read(known.api.get(f"{where}/file").data)

    assert "my wife" not in str(found)
    own = {name.removeprefix("calls/").removesuffix(".json") for name in found}
    [others] = [call["id"] for call in known.get("/calls").json if call["id"] not in own]
    places = [place for place in found["mentions.json"] if place["table"] == "turns"]
    assert others in {place["key"][0] for place in places}


def test_nobody_knows_the_number_from_a_request_that_is_done(
    known: Tenant, world: World, who: Canary
) -> None:
    where = _ordered(known, who)
    world.work(known)

    assert who.found_in([str(known.api.get(where).json)]) == []


def test_the_file_is_deleted_after_a_day(known: Tenant, world: World, who: Canary) -> None:
    before = files(known)
    where = _ordered(known, who)
    world.work(known)
    assert len(files(known)) == len(before) + 1

    world.due(known, "privacy.expire")
    world.work(known)

    assert files(known) == before
    assert known.api.get(where).json["status"] == "expired"
    gone = known.api.get(f"{where}/file")
    assert (gone.status_code, gone.json["code"]) == (404, "export-deleted")


def test_the_export_of_a_caller_who_is_erased_is_deleted(
    known: Tenant, world: World, who: Canary
) -> None:
    where = _ordered(known, who)
    world.work(known)

    known.post("/privacy/erase", {"number": who.number})
    world.work(known)

    assert files(known) == []
    assert known.api.get(where).json["status"] == "expired"


def test_an_export_of_nobody_is_an_empty_one(acme: Tenant, world: World, who: Canary) -> None:
    where = _ordered(acme, who)
    world.work(acme)

    assert set(acme.api.get(where).json["holds"].values()) == {0}


def test_another_tenants_calls_with_the_caller_are_not_in_it(
    known: Tenant, globex: Tenant, world: World, who: Canary
) -> None:
    where = _ordered(globex, who)
    world.work(globex)

    assert set(globex.api.get(where).json["holds"].values()) == {0}


def test_the_file_takes_the_scope_content_too(known: Tenant, world: World, who: Canary) -> None:
    where = _ordered(known, who)
    world.work(known)
    admin = world.api(world.key(known.id, scopes=["admin"]))

    assert admin.get(where).status_code == 200
    assert admin.get(f"{where}/file").status_code == 403


def test_an_export_is_no_erasure(known: Tenant, who: Canary) -> None:
    where = _ordered(known, who)

    assert known.api.get(where.replace("exports", "erasures")).status_code == 404


def test_a_file_that_is_missing_in_the_store_is_not_there(
    known: Tenant, world: World, who: Canary
) -> None:
    where = _ordered(known, who)
    world.work(known)
    storage.current_store().delete_all(f"{known.ref.id.hex}/exports")

    gone = known.api.get(f"{where}/file")

    assert (gone.status_code, gone.json["code"]) == (404, "export-deleted")


def test_a_store_that_is_away_delays_an_export(
    known: Tenant, world: World, who: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = _ordered(known, who)

    def away(*_: object, **__: object) -> None:
        raise StorageError("away", permanent=False)

    with monkeypatch.context() as patched:
        patched.setattr(type(storage.current_store()), "put", away)
        world.work(known)
    assert known.api.get(where).json["status"] == "pending"

    world.due(known, "privacy.export")
    world.work(known)

    assert known.api.get(where).json["status"] == "done"
