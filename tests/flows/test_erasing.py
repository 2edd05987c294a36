"""A caller is erased: a dump afterwards holds neither number nor name nor words."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import text

from tests.doubles.models import Rehearsed
from tests.doubles.receiver import OK, Receiver, answers
from tests.flows.conftest import RealCarrier, use
from tests.support import known_caller, owner, webhooks
from tests.support.carrier_line import CarrierLine, words
from tests.support.evidence import Evidence
from tests.support.known_caller import Canary, dump, kept_files
from tests.support.recorded import Failing, Killed, dies, files
from tests.support.usage import sums
from tests.support.world import Platform, Tenant, World, fresh_number
from vca.kit import storage
from vca.kit.storage import StorageError
from vca.tenant.privacy import call_erasure, erasure


@pytest.fixture
def store(app: Flask) -> Iterator[Failing]:
    """The process's store, which fails from here on when it is told to."""
    before = storage.current_store()
    failing = Failing(before)
    storage.set_current_store(failing)
    yield failing
    storage.set_current_store(before)


@pytest.fixture
def witness(database_url: str) -> Iterator[Evidence]:
    """The database as nobody's session sees it."""
    found = Evidence(database_url)
    yield found
    found.close()


@pytest.fixture
def who() -> Canary:
    """Somebody who calls."""
    return known_caller.canary()


@pytest.fixture
def spread(
    world: World,
    acme: Tenant,
    line: CarrierLine,
    real: RealCarrier,
    endpoint: Receiver,
    who: Canary,
) -> Tenant:
    """Acme, with something of the canary in every place."""
    echo = f"unknown: {who.number}".encode()
    endpoint.behave = answers(
        b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%b" % (len(echo), echo)
    )
    webhooks.register(acme, endpoint)
    known_caller.calls(world, acme, line, real, who, known_caller.premises(acme))
    known_caller.jobs_naming(acme, who)
    endpoint.behave = OK  # what it says after the erasure is after the erasure
    return acme


def test_a_dump_afterwards_holds_nothing_of_an_erased_caller(
    spread: Tenant, world: World, witness: Evidence, who: Canary
) -> None:
    before = who.found_in(dump(witness, spread))
    assert {row.split()[0].rpartition(".")[2] for row in before} == {
        "calls",
        "call_events",
        "turns",
        "messages",
        "outbound_legs",
        "idempotency_keys",
        "webhook_deliveries",
        "procrastinate_jobs",
    }
    assert len(files(spread)) == 2

    asked = spread.post("/privacy/erase", {"number": who.number})
    world.work(spread)

    assert asked.status_code == 202
    erasure = spread.api.get(asked.headers["Location"]).json
    assert erasure["status"] == "done"
    assert who.found_in(dump(witness, spread)) == []
    assert files(spread) == []
    assert who.found_in(path.read_bytes().decode("latin-1") for path in kept_files()) == []
    removed = erasure["removed"]
    assert (removed["calls"], removed["recordings"], removed["messages"]) == (3, 2, 2)
    assert removed["turns"] == 5
    assert removed["jobs"] == 2
    assert removed["answers"] == 1
    assert removed["mentions"] >= 2


def test_what_is_no_persons_stays_on_record(spread: Tenant, world: World, who: Canary) -> None:
    calls = {call["id"]: call for call in spread.get("/calls").json}
    talk = next(call for call in calls.values() if call["end_reason"] == "transferred")

    _erase(spread, world, who)

    same = ("direction", "status", "end_reason", "started_at", "answered_at", "ended_at", "tokens")
    after = {call["id"]: call for call in spread.get("/calls").json}
    assert after.keys() == calls.keys()
    for id, call in after.items():
        assert [call[name] for name in same] == [calls[id][name] for name in same]
    erased = after[talk["id"]]
    assert (erased["caller_number"], erased["summary"], erased["data"]) == (None, None, None)
    assert erased["duration_seconds"] == talk["duration_seconds"]
    assert spread.get(f"/calls/{talk['id']}/turns").json == []
    happened = spread.get(f"/calls/{talk['id']}/events").json
    assert [event["details"] for event in happened] == [{}] * len(happened) != []
    outbound = next(call for call in after.values() if call["direction"] == "outbound")
    assert (outbound["called_number"], outbound["metadata"]) == ("erased", {})


def test_audio_that_is_erased_was_kept_until_then_and_is_counted_once(
    spread: Tenant, world: World, who: Canary
) -> None:
    with owner.inside(spread.ref) as session:
        kept = session.scalars(text("SELECT size_bytes FROM recordings WHERE status = 'stored'"))
        byte_days = sum(kept)

    _erase(spread, world, who)
    _erase(spread, world, who)

    assert byte_days > 0
    assert sums(spread)["recording_byte_days"] == byte_days


def test_the_answer_says_what_remains_where(spread: Tenant, world: World, who: Canary) -> None:
    carriers = {call["provider_call_id"] for call in spread.get("/calls").json}

    erasure = _erase(spread, world, who)

    remains = {each["where"]: each for each in erasure["remains"]}
    assert {"carriers", "backups", "model", "mails", "webhooks", "exports"} == set(remains)
    named = remains["carriers"]["calls"]
    assert {call["provider_type"] for call in named} == {"fake"}
    assert len(named) == 3
    assert {call["provider_call_id"] for call in named} <= carriers


def test_a_copy_from_before_an_import_is_told_with_its_last_day(
    acme: Tenant, globex: Tenant, world: World, witness: Evidence, who: Canary
) -> None:
    own, another = (f"old_{tenant.ref.id.hex}_20261120093000" for tenant in (acme, globex))
    for schema in (own, another):
        witness.rows(f"CREATE SCHEMA {schema}")

    try:
        erasure = _erase(acme, world, who)
    finally:
        for schema in (own, another):
            witness.rows(f"DROP SCHEMA {schema}")

    [copy] = [each for each in erasure["remains"] if each["where"] == "replaced"]
    assert copy["detail"].endswith("before an import; kept until 2026-11-27.")


def test_a_request_that_is_repeated_after_the_erasure_dials_nobody_again(
    acme: Tenant, world: World, line: CarrierLine, real: RealCarrier, who: Canary
) -> None:
    known_caller.premises(acme)
    number = acme.get("/phone-numbers").json[0]
    order = {"to": who.number, "from_phone_number_id": number["id"], "metadata": {"n": who.name}}
    key = {"Idempotency-Key": "once"}
    made = acme.post("/calls", order, headers=key).json
    world.work(acme)
    acme.post(f"/calls/{made['id']}/hangup")
    line.status("placed-1", "completed", to=number["did_number"])
    _erase(acme, world, who)

    again = acme.post("/calls", order, headers=key)

    assert (again.status_code, again.json["id"]) == (202, made["id"])
    assert (again.json["called_number"], again.json["metadata"]) == ("erased", {})
    world.work(acme)
    assert [what for what, _ in real.operations].count("place_call") == 1


def test_another_tenant_that_knows_the_caller_keeps_all(
    spread: Tenant,
    globex: Tenant,
    world: World,
    line: CarrierLine,
    real: RealCarrier,
    witness: Evidence,
    who: Canary,
) -> None:
    known_caller.calls(world, globex, line, real, who, known_caller.premises(globex))
    known_caller.jobs_naming(globex, who)
    before, audio = witness.checksum(globex.id), files(globex)

    _erase(spread, world, who)

    assert witness.checksum(globex.id) == before
    assert files(globex) == audio
    assert len(who.found_in(dump(witness, globex))) > 10


def test_a_call_that_goes_on_is_erased_once_it_has_ended(
    acme: Tenant, world: World, line: CarrierLine, witness: Evidence, who: Canary
) -> None:
    by_day, _ = known_caller.premises(acme)
    use(Rehearsed([f"You are {who.name}."], [f"Yes, {who.word}."], known_caller.NOTED))
    state = line.ring(by_day, "over", who.number)["state"]
    line.status("over", "completed", state=state)
    state = line.ring(by_day, "live", who.number)["state"]
    state = line.say("live", state, f"I am {who.name}")["state"]

    waiting = _erase(acme, world, who)
    during = line.say("live", state, f"a {who.word}")
    line.status("live", "completed", state=during["state"])
    world.due(acme, "privacy.erase")
    world.work(acme)

    assert waiting["status"] == "waiting"
    assert waiting["removed"]["calls"] == 1
    assert words(during) == f"Yes, {who.word}."
    done = acme.get(f"/privacy/erasures/{waiting['id']}").json
    assert (done["status"], done["removed"]["calls"]) == ("done", 2)
    assert who.found_in(dump(witness, acme)) == []


def test_who_withheld_their_number_is_known_by_the_one_that_they_left(
    acme: Tenant, world: World, line: CarrierLine, witness: Evidence, who: Canary
) -> None:
    by_day, _ = known_caller.premises(acme)
    left = {"name": who.name, "number": who.spoken, "reason": who.word}
    use(Rehearsed([known_caller.note("take_message", **left)], known_caller.NOTED))
    state = line.ring(by_day, "withheld", None)["state"]
    line.say("withheld", state, f"{who.name}, {who.word}, {who.spoken}")
    line.status("withheld", "completed", state=state)

    _erase(acme, world, who)

    assert acme.get("/messages").json == []
    assert who.found_in(dump(witness, acme)) == []


def test_whoever_calls_after_the_erasure_is_a_caller_as_any_other(
    acme: Tenant, world: World, line: CarrierLine, who: Canary
) -> None:
    by_day, _ = known_caller.premises(acme)
    asked = acme.post("/privacy/erase", {"number": who.number}).json
    line.status("new", "completed", state=line.ring(by_day, "new", who.number)["state"])

    world.work(acme)

    assert acme.get(f"/privacy/erasures/{asked['id']}").json["status"] == "done"
    [call] = acme.get("/calls").json
    assert call["caller_number"] == who.number


def test_what_the_tenant_has_set_up_is_named_and_left_as_it_is(
    acme: Tenant, world: World, line: CarrierLine, witness: Evidence, who: Canary
) -> None:
    acme.patch("/settings", {"home_country": "GB"})
    targets = {"jane": {"number": who.number}}
    profile = acme.profile(
        transfer_targets=targets, tools=["transfer"], extract=known_caller.EXTRACT
    )
    number = acme.number(fallback_number=who.number)

    erasure = _erase(acme, world, who)

    [own] = [each for each in erasure["remains"] if each["where"] == "configuration"]
    assert own["places"] == ["ai_profiles.transfer_targets", "phone_numbers.fallback_number"]
    use(Rehearsed([known_caller.note("transfer", target="jane")], known_caller.NOTED))
    state = line.ring(number["did_number"], "c", fresh_number())["state"]
    assert line.say("c", state, "Jane?")["actions"][-1]["number"] == who.number

    line.tell("leg", "c", state, outcome="answered")
    line.status("c", "completed", state=state)
    acme.patch(f"/ai-profiles/{profile['id']}", {"transfer_targets": {}})
    acme.patch(f"/phone-numbers/{number['id']}", {"fallback_number": None})
    _erase(acme, world, who)
    assert who.found_in(dump(witness, acme)) == []


def test_the_tenants_own_number_is_nobodys_and_another_tenants_is_not_known(
    acme: Tenant, globex: Tenant
) -> None:
    own, theirs = acme.number()["did_number"], globex.number()["did_number"]

    refused = acme.post("/privacy/erase", {"number": own})
    foreign = acme.post("/privacy/erase", {"number": theirs})

    assert (refused.status_code, refused.json["code"]) == (409, "own-number")
    assert foreign.status_code == 202


def test_a_suspended_tenant_exports_and_erases(
    acme: Tenant, platform: Platform, world: World, who: Canary
) -> None:
    platform.api.patch(acme.url(), {"status": "suspended"})

    for what in ("export", "erase"):
        assert acme.post(f"/privacy/{what}", {"number": who.number}).status_code == 202
    assert acme.patch("/settings", {}).status_code == 403


@pytest.mark.parametrize("scope", ["read", "content", "write"])
def test_it_takes_the_scope_admin(acme: Tenant, world: World, who: Canary, scope: str) -> None:
    api = world.api(world.key(acme.id, scopes=[scope]))

    for what in ("export", "erase"):
        answer = api.post(acme.url(f"/privacy/{what}"), {"number": who.number})
        assert (answer.status_code, answer.json["code"]) == (403, "scope-missing")


@pytest.mark.parametrize("body", [{}, {"number": "0044"}, {"number": "+1"}, {"number": None}])
def test_what_is_no_number_is_refused(acme: Tenant, body: dict[str, object]) -> None:
    for what in ("export", "erase"):
        answer = acme.post(f"/privacy/{what}", body)
        assert answer.status_code == 400
        assert answer.json["errors"][0]["pointer"] == "/number"


def test_a_store_that_is_away_delays_the_erasure(
    spread: Tenant, world: World, witness: Evidence, store: Failing, who: Canary
) -> None:
    store.failure = StorageError("away", permanent=False)
    delayed = _erase(spread, world, who)
    assert delayed["status"] == "pending"
    jobs = "SELECT args::text FROM jobs.procrastinate_jobs WHERE task_name = 'privacy.erase'"
    assert who.found_in(args for (args,) in witness.rows(jobs)) == []

    store.failure = None
    world.due(spread, "privacy.erase")
    world.work(spread)

    assert spread.get(f"/privacy/erasures/{delayed['id']}").json["status"] == "done"
    assert who.found_in(dump(witness, spread)) == []
    assert files(spread) == []


@pytest.mark.parametrize(
    "step",
    ["erase_events", "erase_stored_responses", "erase_audio", "erase_calls", "erase_messages"],
)
def test_an_erasure_that_is_killed_is_finished_by_the_next_run(
    spread: Tenant,
    world: World,
    witness: Evidence,
    who: Canary,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    asked = spread.post("/privacy/erase", {"number": who.number}).json
    with monkeypatch.context() as patched:
        patched.setattr(call_erasure, step, dies)
        with pytest.raises(Killed):
            erasure.run_erasure(spread.ref, request_id=UUID(asked["id"]))

    erasure.run_erasure(spread.ref, request_id=UUID(asked["id"]))

    assert who.found_in(dump(witness, spread)) == []
    assert files(spread) == []


def test_a_recording_that_is_fetched_while_it_is_erased_is_not_kept(
    acme: Tenant, world: World, line: CarrierLine, real: RealCarrier, who: Canary
) -> None:
    by_day, _ = known_caller.premises(acme)
    line.status("c", "completed", state=line.ring(by_day, "c", who.number)["state"])
    erasure_request = acme.post("/privacy/erase", {"number": who.number}).json
    erasure.run_erasure(acme.ref, request_id=UUID(erasure_request["id"]))
    real.add_recording("c", who.word.encode())

    world.work(acme, ahead=True)

    assert files(acme) == []
    assert real.fetch_recording("c") is None
    [call] = acme.get("/calls").json
    assert call["recording"]["status"] == "deleted"


def _erase(tenant: Tenant, world: World, who: Canary) -> dict[str, Any]:
    """The erasure after its job was done."""
    asked = tenant.post("/privacy/erase", {"number": who.number})
    assert asked.status_code == 202, asked.text
    world.work(tenant)
    found: dict[str, Any] = tenant.api.get(asked.headers["Location"]).json
    return found
