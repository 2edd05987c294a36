"""Calls by tenants' own accounts: whose signature counts, and who is asked afterwards."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import event, text

from tests.support import admin_db
from tests.support.accounts import (
    OTHER_CARRIER,
    OTHER_CARRIER_PATH,
    OtherCarrier,
    OwnAccount,
    create_account,
    requested_operations,
)
from tests.support.api import Api
from tests.support.carrier_client import BASE_PATH, CALLER, CarrierClient, spoken_text
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant, fresh_number
from vca.kit import db
from vca.registry.number_registry import service as dids
from vca.telephony import providers
from vca.telephony.providers import ADAPTERS
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.calls.control import outbound_calls, reconciliation
from vca.tenant.calls.core.call_services import current_services
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.telephony_accounts import credentials

OTHERS = f"/telephony/{OTHER_CARRIER}/"
# A ring, words, an end, and an end that bears no token: the statements of each.
BEFORE_THERE_WERE_ACCOUNTS = [4, 7, 11, 12]


@pytest.fixture
def db_snapshot(app: Flask) -> Iterator[SnapshotChecker]:
    found = SnapshotChecker(admin_db.database_url())
    yield found
    found.close()


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    """By the deployment's account."""
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def own_account(carrier: FakeTelephonyAdapter, acme: Tenant) -> OwnAccount:
    """An account of acme's."""
    acme.profile(greeting="Acme here.", transfer_targets={"sales": {"number": "+442079460999"}})
    return create_account(acme)


@pytest.fixture
def number(acme: Tenant, own_account: OwnAccount) -> dict[str, Any]:
    """A number of acme's on its own account."""
    return acme.number(**own_account.number_fields)


def _calls(tenant: Tenant) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.get("/calls").json
    return found


# --- Genuine --------------------------------------------------------------------------------------


def test_a_number_on_its_tenants_account_rings_by_that_account(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    line = own_account.carrier_client(anonymous)

    rung = line.ring(number["did_number"], "own-1")
    said = line.say("own-1", rung["state"], "Hello?")
    line.send_status("own-1", "completed", state=said["state"])

    assert spoken_text(rung) == "Acme here."
    [call] = _calls(acme)
    assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")
    assert (call["provider_type"], call["telephony_account_id"]) == ("fake", own_account.id)


def test_a_status_without_a_token_is_believed_of_the_account_that_holds_the_call(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    line = own_account.carrier_client(anonymous)
    line.ring(number["did_number"], "own-1")

    line.send_status("own-1", "completed", to=number["did_number"])

    assert _calls(acme)[0]["status"] == "completed"


def test_for_a_day_the_secret_before_signs_too(
    acme: Tenant, world: Factory, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    acme.patch(f"/telephony-accounts/{own_account.id}", {"fields": {"secret": "n" * 20}})

    own_account.carrier_client(anonymous).ring(number["did_number"], "before-1")

    new = OwnAccount(own_account.representation, {**own_account.fields, "secret": "n" * 20})
    new.carrier_client(anonymous).ring(number["did_number"], "new-1")
    assert len(_calls(acme)) == 2


def test_a_carrier_that_only_tenants_have_an_account_with_is_taken(
    acme: Tenant, own_account: OwnAccount, anonymous: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ADAPTERS, OTHER_CARRIER, OTHER_CARRIER_PATH)
    theirs = create_account(acme, provider_type=OTHER_CARRIER)
    number = acme.number(**theirs.number_fields)

    request = OtherCarrier(theirs.fields["secret"]).signed_request(
        "voice", OTHERS, call_id="other-1", to=number["did_number"]
    )
    answer = theirs.carrier_client(anonymous).send(request)

    assert answer.status_code == 200
    assert _calls(acme)[0]["telephony_account_id"] == theirs.id
    assert (
        acme.post(
            "/phone-numbers", {"did_number": fresh_number(), "provider_type": OTHER_CARRIER}
        ).json["errors"][0]["pointer"]
        == "/provider_type"
    )


def test_a_call_stays_with_its_account_when_its_number_moves(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    carrier_client: CarrierClient,
) -> None:
    theirs = own_account.carrier_client(anonymous)
    state = theirs.ring(number["did_number"], "own-1")["state"]

    acme.patch(f"/phone-numbers/{number['id']}", {"telephony_account_id": None})
    acme.post(f"/phone-numbers/{number['id']}/release-previous-carrier")

    theirs.say("own-1", state, "Are you there?")
    theirs.send_status("own-1", "completed", to=number["did_number"])
    assert _calls(acme)[0]["status"] == "completed"
    assert carrier_client.ring(number["did_number"], "new-1")["state"] is not None


# --- Forged ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LiveCalls:
    """Numbers and live calls of two tenants on accounts of their own and the deployment's."""

    deployment: FakeTelephonyAdapter
    acmes: OwnAccount
    acmes_second: OwnAccount
    globexs: OwnAccount
    on_own: str
    on_second: str
    on_deployment: str
    at_globex: str
    own_state: str
    deployment_state: str
    globex_state: str

    def by(self, own: OwnAccount) -> FakeTelephonyAdapter:
        return FakeTelephonyAdapter(own.fields["secret"])


@pytest.fixture
def live_calls(
    acme: Tenant,
    globex: Tenant,
    carrier: FakeTelephonyAdapter,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier_client: CarrierClient,
    anonymous: Api,
) -> LiveCalls:
    globex.profile(greeting="Globex here.")
    second, theirs = create_account(acme), create_account(globex)
    on_second = acme.number(**second.number_fields)["did_number"]
    on_deployment = acme.number()["did_number"]
    at_globex = globex.number(**theirs.number_fields)["did_number"]
    return LiveCalls(
        carrier,
        own_account,
        second,
        theirs,
        number["did_number"],
        on_second,
        on_deployment,
        at_globex,
        own_account.carrier_client(anonymous).ring(number["did_number"], "own-1")["state"],
        carrier_client.ring(on_deployment, "deployment-1")["state"],
        theirs.carrier_client(anonymous).ring(at_globex, "globex-1")["state"],
    )


Forged = Callable[[LiveCalls], CarrierRequest]


def _ring(
    by: Callable[[LiveCalls], FakeTelephonyAdapter], to: Callable[[LiveCalls], str]
) -> Forged:
    said = {"call_id": "forged-1", "from": CALLER}
    return lambda scene: by(scene).signed_request("voice", BASE_PATH, to=to(scene), **said)


def _later(
    by: Callable[[LiveCalls], FakeTelephonyAdapter],
    state: Callable[[LiveCalls], str],
    action: str = "speech",
    **said: Any,
) -> Forged:
    told = {"call_id": "own-1", "text": "Hello?", **said}
    return lambda scene: by(scene).signed_request(action, BASE_PATH, state=state(scene), **told)


def _deployment(scene: LiveCalls) -> FakeTelephonyAdapter:
    return scene.deployment


def _acmes(scene: LiveCalls) -> FakeTelephonyAdapter:
    return scene.by(scene.acmes)


def _second(scene: LiveCalls) -> FakeTelephonyAdapter:
    return scene.by(scene.acmes_second)


def _globexs(scene: LiveCalls) -> FakeTelephonyAdapter:
    return scene.by(scene.globexs)


def _stranger(scene: LiveCalls) -> FakeTelephonyAdapter:
    return FakeTelephonyAdapter("a guess of sixteen")


def _altered(scene: LiveCalls) -> CarrierRequest:
    genuine = _acmes(scene).signed_request("voice", BASE_PATH, call_id="forged-1", to=scene.on_own)
    return CarrierRequest("voice", genuine.url, genuine.headers, genuine.body + b" ")


def _elsewhere(scene: LiveCalls) -> CarrierRequest:
    genuine = _acmes(scene).signed_request(
        "voice", BASE_PATH, call_id="own-1", state=scene.own_state
    )
    return CarrierRequest("speech", f"{BASE_PATH}speech", genuine.headers, genuine.body)


def _unsigned(scene: LiveCalls) -> CarrierRequest:
    genuine = _acmes(scene).signed_request("voice", BASE_PATH, call_id="forged-1", to=scene.on_own)
    return CarrierRequest("voice", genuine.url, {}, genuine.body)


_OWN: Callable[[LiveCalls], str] = lambda scene: scene.own_state  # noqa: E731 # a place in the table
_STATUS = {"action": "status", "status": "completed"}

FORGERIES: dict[str, Forged] = {
    "acme's number, by the deployment": _ring(_deployment, lambda it: it.on_own),
    "acme's number, by acme's other account": _ring(_second, lambda it: it.on_own),
    "acme's number, by globex": _ring(_globexs, lambda it: it.on_own),
    "acme's number, by a stranger": _ring(_stranger, lambda it: it.on_own),
    "acme's number on the deployment, by acme": _ring(_acmes, lambda it: it.on_deployment),
    "acme's number on the deployment, by globex": _ring(_globexs, lambda it: it.on_deployment),
    "globex's number, by acme": _ring(_acmes, lambda it: it.at_globex),
    "globex's number, by the deployment": _ring(_deployment, lambda it: it.at_globex),
    "nobody's number, by acme": _ring(_acmes, lambda it: fresh_number()),
    "acme's call, by the deployment": _later(_deployment, _OWN),
    "acme's call, by acme's other account": _later(_second, _OWN),
    "acme's call, by globex": _later(_globexs, _OWN),
    "the end of acme's call, by globex": _later(_globexs, _OWN, **_STATUS),
    "keys in acme's call, by globex": _later(_globexs, _OWN, "keys", keys="1"),
    "more of acme's call, by globex": _later(_globexs, _OWN, "more"),
    "a leg of acme's call, by globex": _later(_globexs, _OWN, "leg", outcome="busy"),
    "acme's call answered, by globex": _later(_globexs, _OWN, "answered"),
    "acme's call interrupted, by globex": _later(_globexs, _OWN, "interrupted"),
    "a voicemail of acme's, by globex": _later(_globexs, _OWN, "voicemail", recording_id="x"),
    "a recording of acme's, by globex": _later(_globexs, _OWN, "recording", recording_id="x"),
    "a call on the deployment, by acme": _later(_acmes, lambda it: it.deployment_state),
    "globex's call, by acme": _later(_acmes, lambda it: it.globex_state),
    "a false token, by acme": _later(_acmes, lambda it: f"{it.own_state[:-3]}AAA"),
    "the end of acme's call without a token, by the deployment": lambda it: _deployment(
        it
    ).signed_request("status", BASE_PATH, call_id="own-1", to=it.on_own, status="completed"),
    "the end of acme's call at another number, by that one's account": lambda it: _second(
        it
    ).signed_request("status", BASE_PATH, call_id="own-1", to=it.on_second, status="completed"),
    "acme's call rung again at another number, by that one's account": lambda it: _second(
        it
    ).signed_request("voice", BASE_PATH, call_id="own-1", to=it.on_second),
    "altered": _altered,
    "signed for another action": _elsewhere,
    "unsigned": _unsigned,
}


def _told(evidence: SnapshotChecker, *tenants: Tenant) -> list[Any]:
    misses = evidence.rows("SELECT count(*), sum(misses) FROM public.did_misses")
    waiting = evidence.rows("SELECT count(*) FROM jobs.procrastinate_jobs")
    return [*(evidence.checksum(tenant.id) for tenant in tenants), misses, waiting]


@pytest.mark.parametrize("name", FORGERIES)
def test_what_another_account_signs_is_403_and_nothing_is_written(
    name: str,
    live_calls: LiveCalls,
    acme: Tenant,
    globex: Tenant,
    carrier_client: CarrierClient,
    db_snapshot: SnapshotChecker,
) -> None:
    before = _told(db_snapshot, acme, globex)

    refused = carrier_client.send(FORGERIES[name](live_calls))

    assert (refused.status_code, refused.json["code"]) == (403, "forbidden")
    assert _told(db_snapshot, acme, globex) == before


@pytest.mark.parametrize("of_call", [False, True])
def test_what_another_carrier_signs_is_403_and_nothing_is_written(
    of_call: bool,
    live_calls: LiveCalls,
    acme: Tenant,
    globex: Tenant,
    carrier_client: CarrierClient,
    db_snapshot: SnapshotChecker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the deployment's account there, and by one that acme has there."""
    other = OtherCarrier("the deployment's own one")
    monkeypatch.setitem(providers.current_carriers()._adapters, OTHER_CARRIER, other)
    theirs = OtherCarrier(create_account(acme, provider_type=OTHER_CARRIER).fields["secret"])
    before = _told(db_snapshot, acme, globex)

    places = (("own-1", live_calls.on_own, live_calls.own_state),)
    places += (("deployment-1", live_calls.on_deployment, live_calls.deployment_state),)
    for carrier, (call_id, to, state) in product((other, theirs), places):
        said = {"text": "Hello?", "state": state} if of_call else {"to": to}
        action = "speech" if of_call else "voice"
        refused = carrier_client.send(
            carrier.signed_request(action, OTHERS, call_id=call_id, **said)
        )
        assert refused.status_code == 403

    assert _told(db_snapshot, acme, globex) == before


def test_the_secret_before_is_refused_once_its_day_is_over(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "OVERLAP", timedelta(0))
    acme.patch(f"/telephony-accounts/{own_account.id}", {"fields": {"secret": "n" * 20}})
    line = own_account.carrier_client(anonymous)

    refused = line.send(line.build_request("voice", call_id="late-1", to=number["did_number"]))

    assert refused.status_code == 403
    assert _calls(acme) == []


def test_an_account_that_is_gone_signs_nothing(
    acme: Tenant, world: Factory, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    line = own_account.carrier_client(anonymous)
    state = line.ring(number["did_number"], "own-1")["state"]
    world.sql(acme, "UPDATE phone_numbers SET telephony_account_id = NULL")
    world.sql(acme, "DELETE FROM telephony_accounts")

    for action, said in (("voice", {"to": number["did_number"]}), ("speech", {"state": state})):
        request = line.build_request(action, call_id="own-1", **said)
        assert line.send(request).status_code == 403


def test_a_token_of_before_there_were_accounts_is_believed_of_its_calls_row(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    carrier_client: CarrierClient,
) -> None:
    theirs = own_account.carrier_client(anonymous)
    theirs.ring(number["did_number"], "own-1")
    ref = CallRef(acme.ref, UUID(_calls(acme)[0]["id"]))
    state = current_services().sign_state(ref, turns=1)

    refused = carrier_client.send(
        carrier_client.build_request("speech", call_id="own-1", state=state, text="Hello?")
    )
    taken = theirs.send(theirs.build_request("speech", call_id="own-1", state=state, text="Hello?"))

    assert (refused.status_code, taken.status_code) == (403, 200)


# --- What it costs --------------------------------------------------------------------------------


class Count:
    """How many statements each request takes."""

    def __init__(self) -> None:
        self._seen = 0
        self.taken: list[int] = []

    def note(self, *_: object) -> None:
        self._seen += 1

    def of(self, send: Callable[..., dict[str, Any]], *given: Any, **said: Any) -> dict[str, Any]:
        self._seen = 0
        answer = send(*given, **said)
        self.taken.append(self._seen)
        return answer


@pytest.fixture
def count(app: Flask) -> Iterator[Count]:
    found, engine = Count(), db.current_database().engine
    event.listen(engine, "before_cursor_execute", found.note)
    yield found
    event.remove(engine, "before_cursor_execute", found.note)


def _counted(count: Count, line: CarrierClient, to: str, name: str) -> list[int]:
    """The statements of a ring, of words, of an end, and of an end that bears no token."""
    line.ring(to, f"{name}-1")  # the first of a process loads what is kept
    line.send_status(f"{name}-1", "completed", to=to)
    count.taken.clear()
    state = count.of(line.ring, to, f"{name}-2")["state"]
    count.of(line.say, f"{name}-2", state, "Hello?")
    count.of(line.send_status, f"{name}-2", "completed", state=state)
    line.ring(to, f"{name}-3")
    count.of(line.send_status, f"{name}-3", "completed", to=to)
    return list(count.taken)


def test_the_deployments_account_costs_no_statement_and_a_tenants_one(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier_client: CarrierClient,
    anonymous: Api,
    count: Count,
) -> None:
    deployments = _counted(count, carrier_client, acme.number()["did_number"], "plain")
    tenants = _counted(count, own_account.carrier_client(anonymous), number["did_number"], "own")

    assert deployments == BEFORE_THERE_WERE_ACCOUNTS
    assert [more - plain for more, plain in zip(tenants, deployments, strict=True)] == [1] * 4


# --- Who is asked ---------------------------------------------------------------------------------


def test_its_account_registers_controls_and_looks_up_and_the_deployments_does_nothing(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    carrier: FakeTelephonyAdapter,
) -> None:
    world.run_jobs(acme)
    line = own_account.carrier_client(anonymous)
    state = line.ring(number["did_number"], "own-1")["state"]
    own_account.carrier.live_calls.add("own-1")
    call = _calls(acme)[0]["id"]

    acme.post(f"/calls/{call}/say", {"text": "One moment."})
    assert (
        reconciliation.check_call(current_services().verify_state(state).ref, immediately=True)
        == "live"
    )
    acme.post(f"/calls/{call}/transfer", {"target": "sales"})
    acme.post(f"/calls/{call}/hangup")
    acme.delete(f"/phone-numbers/{number['id']}")
    world.run_jobs(acme)

    assert requested_operations(own_account.carrier) == [
        "register_number",
        "direct",
        "look_up",
        "direct",
        "hang_up",
        "unregister_number",
    ]
    assert requested_operations(carrier) == []


def test_it_places_its_tenants_calls(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier: FakeTelephonyAdapter,
) -> None:
    with tenant_session(acme.ref) as session:
        to, number_id = fresh_number(), UUID(number["id"])
        call_id = outbound_calls.place_call(session, to=to, from_phone_number_id=number_id).id

    outbound_calls.dial(CallRef(acme.ref, call_id))

    assert requested_operations(own_account.carrier) == ["place_call"]
    assert requested_operations(carrier) == []
    [(_, how)] = own_account.carrier.operations
    sealed = current_services().verify_state(how["state"])
    assert sealed.account is not None
    assert str(sealed.account.account_id) == own_account.id
    assert acme.get(f"/calls/{call_id}").json["telephony_account_id"] == own_account.id


def test_it_gives_its_recordings_and_deletes_its_copies(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    anonymous: Api,
    carrier: FakeTelephonyAdapter,
) -> None:
    profile = acme.profile(greeting="Taped.", recording=True)
    number = acme.number(**own_account.number_fields, ai_profile_id=profile["id"])
    line = own_account.carrier_client(anonymous)
    state = line.ring(number["did_number"], "own-1")["state"]
    own_account.carrier.add_recording("own-1", b"RIFF")

    line.send_status("own-1", "completed", state=state)
    world.run_jobs(acme)

    assert _calls(acme)[0]["recording"]["status"] == "stored"
    assert requested_operations(own_account.carrier)[-2:] == ["recording", "delete_recording"]
    assert requested_operations(carrier) == []


def test_a_simulation_rings_a_number_on_any_account(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    call = acme.simulate(number["did_number"])

    assert acme.say(call["call_id"], "Hello?")["status"] == "in_progress"
    assert _calls(acme)[0]["telephony_account_id"] is None


def test_the_registry_names_the_account_of_a_number(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any]
) -> None:
    with public_session() as session:
        did = dids.get(session, number=number["did_number"])
        assert str(did.telephony_account_id) == own_account.id
        kept = session.scalar(text("SELECT count(*) FROM public.dids WHERE previous_until > now()"))
    assert kept == 0 or did.previous_until is None
