"""Calls on telephony accounts of tenants: accepted signatures, and operations at the carrier."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from operator import attrgetter
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
from vca.registry.number_registry import service as number_registry
from vca.telephony import providers
from vca.telephony.providers import ADAPTERS
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import CarrierRequest
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.calls.control import outbound_calls, reconciliation
from vca.tenant.calls.core.call_services import current_services
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.telephony_accounts import credentials

OTHER_CARRIER_BASE_PATH = f"/telephony/{OTHER_CARRIER}/"
# The number of statements of an inbound call, an utterance, a final status with a state token, and
# a final status without one.
DEPLOYMENT_ACCOUNT_STATEMENTS = [4, 7, 11, 12]


@pytest.fixture
def db_snapshot(app: Flask) -> Iterator[SnapshotChecker]:
    """Return a reader of the database outside the product's sessions."""
    checker = SnapshotChecker(admin_db.database_url())
    yield checker
    checker.close()


@pytest.fixture
def carrier_client(carrier: FakeTelephonyAdapter, anonymous: Api) -> CarrierClient:
    """Return a client that signs with the deployment's account."""
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def own_account(carrier: FakeTelephonyAdapter, acme: Tenant) -> OwnAccount:
    """Create a telephony account of acme."""
    acme.profile(greeting="Acme here.", transfer_targets={"sales": {"number": "+442079460999"}})
    return create_account(acme)


@pytest.fixture
def number(acme: Tenant, own_account: OwnAccount) -> dict[str, Any]:
    """Create a number of acme on that account."""
    return acme.number(**own_account.number_fields)


def _list_calls(tenant: Tenant) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = tenant.get("/calls").json
    return calls


# --- Genuine requests -----------------------------------------------------------------------------


def test_a_call_to_a_number_on_a_tenants_account_is_stored_with_that_account(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    account_client = own_account.carrier_client(anonymous)

    first_response = account_client.ring(number["did_number"], "own-1")
    second_response = account_client.say("own-1", first_response["state"], "Hello?")
    account_client.send_status("own-1", "completed", state=second_response["state"])

    assert spoken_text(first_response) == "Acme here."
    [call] = _list_calls(acme)
    assert (call["status"], call["end_reason"]) == ("completed", "caller_hangup")
    assert (call["provider_type"], call["telephony_account_id"]) == ("fake", own_account.id)


def test_a_calls_account_may_send_its_status_without_a_state_token(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    account_client = own_account.carrier_client(anonymous)
    account_client.ring(number["did_number"], "own-1")

    account_client.send_status("own-1", "completed", to=number["did_number"])

    assert _list_calls(acme)[0]["status"] == "completed"


def test_the_previous_secret_of_an_account_is_valid_after_a_rotation(
    acme: Tenant, world: Factory, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    acme.patch(f"/telephony-accounts/{own_account.id}", {"fields": {"secret": "n" * 20}})

    own_account.carrier_client(anonymous).ring(number["did_number"], "before-1")

    rotated_account = OwnAccount(
        own_account.representation, {**own_account.fields, "secret": "n" * 20}
    )
    rotated_account.carrier_client(anonymous).ring(number["did_number"], "new-1")
    assert len(_list_calls(acme)) == 2


def test_a_carrier_without_a_deployment_account_serves_a_tenants_account(
    acme: Tenant, own_account: OwnAccount, anonymous: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ADAPTERS, OTHER_CARRIER, OTHER_CARRIER_PATH)
    account = create_account(acme, provider_type=OTHER_CARRIER)
    number = acme.number(**account.number_fields)

    request = OtherCarrier(account.fields["secret"]).signed_request(
        "voice", OTHER_CARRIER_BASE_PATH, call_id="other-1", to=number["did_number"]
    )
    response = account.carrier_client(anonymous).send(request)

    assert response.status_code == 200
    assert _list_calls(acme)[0]["telephony_account_id"] == account.id
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
    account_client = own_account.carrier_client(anonymous)
    state = account_client.ring(number["did_number"], "own-1")["state"]

    acme.patch(f"/phone-numbers/{number['id']}", {"telephony_account_id": None})
    acme.post(f"/phone-numbers/{number['id']}/release-previous-carrier")

    account_client.say("own-1", state, "Are you there?")
    account_client.send_status("own-1", "completed", to=number["did_number"])
    assert _list_calls(acme)[0]["status"] == "completed"
    assert carrier_client.ring(number["did_number"], "new-1")["state"] is not None


# --- Forged requests ------------------------------------------------------------------------------


@dataclass(frozen=True)
class LiveCalls:
    """Numbers and live calls of two tenants, on their accounts and on the deployment's account."""

    deployment_carrier: FakeTelephonyAdapter
    own_account: OwnAccount
    second_account: OwnAccount
    globex_account: OwnAccount
    own_number: str
    second_number: str
    deployment_number: str
    globex_number: str
    own_state: str
    deployment_state: str
    globex_state: str

    def build_carrier(self, account: OwnAccount) -> FakeTelephonyAdapter:
        """Return a carrier that signs with this account."""
        return FakeTelephonyAdapter(account.fields["secret"])


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
    second_account, globex_account = create_account(acme), create_account(globex)
    second_number = acme.number(**second_account.number_fields)["did_number"]
    deployment_number = acme.number()["did_number"]
    globex_number = globex.number(**globex_account.number_fields)["did_number"]
    return LiveCalls(
        carrier,
        own_account,
        second_account,
        globex_account,
        number["did_number"],
        second_number,
        deployment_number,
        globex_number,
        own_account.carrier_client(anonymous).ring(number["did_number"], "own-1")["state"],
        carrier_client.ring(deployment_number, "deployment-1")["state"],
        globex_account.carrier_client(anonymous).ring(globex_number, "globex-1")["state"],
    )


ForgeRequest = Callable[[LiveCalls], CarrierRequest]


def _forge_inbound_call(
    get_carrier: Callable[[LiveCalls], FakeTelephonyAdapter],
    get_number: Callable[[LiveCalls], str],
) -> ForgeRequest:
    """Return a function that builds the first request of an inbound call to this number."""
    fields = {"call_id": "forged-1", "from": CALLER}
    return lambda live_calls: get_carrier(live_calls).signed_request(
        "voice", BASE_PATH, to=get_number(live_calls), **fields
    )


def _forge_event(
    get_carrier: Callable[[LiveCalls], FakeTelephonyAdapter],
    get_state: Callable[[LiveCalls], str],
    action: str = "speech",
    **extra_fields: Any,
) -> ForgeRequest:
    """Return a function that builds a later request of the call with this state token."""
    fields = {"call_id": "own-1", "text": "Hello?", **extra_fields}
    return lambda live_calls: get_carrier(live_calls).signed_request(
        action, BASE_PATH, state=get_state(live_calls), **fields
    )


def _forge_event_without_state(
    get_carrier: Callable[[LiveCalls], FakeTelephonyAdapter],
    get_number: Callable[[LiveCalls], str],
    action: str,
    **fields: Any,
) -> ForgeRequest:
    """Return a function that builds a request that names acme's call by its id and this number."""
    return lambda live_calls: get_carrier(live_calls).signed_request(
        action, BASE_PATH, call_id="own-1", to=get_number(live_calls), **fields
    )


def _deployment_carrier(live_calls: LiveCalls) -> FakeTelephonyAdapter:
    return live_calls.deployment_carrier


def _own_carrier(live_calls: LiveCalls) -> FakeTelephonyAdapter:
    return live_calls.build_carrier(live_calls.own_account)


def _second_carrier(live_calls: LiveCalls) -> FakeTelephonyAdapter:
    return live_calls.build_carrier(live_calls.second_account)


def _globex_carrier(live_calls: LiveCalls) -> FakeTelephonyAdapter:
    return live_calls.build_carrier(live_calls.globex_account)


def _unknown_carrier(live_calls: LiveCalls) -> FakeTelephonyAdapter:
    return FakeTelephonyAdapter("a guess of sixteen")


def _altered_request(live_calls: LiveCalls) -> CarrierRequest:
    genuine_request = _own_carrier(live_calls).signed_request(
        "voice", BASE_PATH, call_id="forged-1", to=live_calls.own_number
    )
    return CarrierRequest(
        "voice", genuine_request.url, genuine_request.headers, genuine_request.body + b" "
    )


def _request_for_another_action(live_calls: LiveCalls) -> CarrierRequest:
    genuine_request = _own_carrier(live_calls).signed_request(
        "voice", BASE_PATH, call_id="own-1", state=live_calls.own_state
    )
    return CarrierRequest(
        "speech", f"{BASE_PATH}speech", genuine_request.headers, genuine_request.body
    )


def _unsigned_request(live_calls: LiveCalls) -> CarrierRequest:
    genuine_request = _own_carrier(live_calls).signed_request(
        "voice", BASE_PATH, call_id="forged-1", to=live_calls.own_number
    )
    return CarrierRequest("voice", genuine_request.url, {}, genuine_request.body)


_FINAL_STATUS = {"action": "status", "status": "completed"}

FORGERIES: dict[str, ForgeRequest] = {
    "acme's number, by the deployment": _forge_inbound_call(
        _deployment_carrier, attrgetter("own_number")
    ),
    "acme's number, by acme's other account": _forge_inbound_call(
        _second_carrier, attrgetter("own_number")
    ),
    "acme's number, by globex": _forge_inbound_call(_globex_carrier, attrgetter("own_number")),
    "acme's number, by an unknown secret": _forge_inbound_call(
        _unknown_carrier, attrgetter("own_number")
    ),
    "acme's number on the deployment, by acme": _forge_inbound_call(
        _own_carrier, attrgetter("deployment_number")
    ),
    "acme's number on the deployment, by globex": _forge_inbound_call(
        _globex_carrier, attrgetter("deployment_number")
    ),
    "globex's number, by acme": _forge_inbound_call(_own_carrier, attrgetter("globex_number")),
    "globex's number, by the deployment": _forge_inbound_call(
        _deployment_carrier, attrgetter("globex_number")
    ),
    "an unassigned number, by acme": _forge_inbound_call(
        _own_carrier, lambda live_calls: fresh_number()
    ),
    "acme's call, by the deployment": _forge_event(_deployment_carrier, attrgetter("own_state")),
    "acme's call, by acme's other account": _forge_event(_second_carrier, attrgetter("own_state")),
    "acme's call, by globex": _forge_event(_globex_carrier, attrgetter("own_state")),
    "the end of acme's call, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), **_FINAL_STATUS
    ),
    "keys in acme's call, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "keys", keys="1"
    ),
    "a poll of acme's call, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "more"
    ),
    "a leg of acme's call, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "leg", outcome="busy"
    ),
    "acme's call answered, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "answered"
    ),
    "acme's call interrupted, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "interrupted"
    ),
    "a voicemail of acme, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "voicemail", recording_id="x"
    ),
    "a recording of acme, by globex": _forge_event(
        _globex_carrier, attrgetter("own_state"), "recording", recording_id="x"
    ),
    "a call on the deployment, by acme": _forge_event(_own_carrier, attrgetter("deployment_state")),
    "globex's call, by acme": _forge_event(_own_carrier, attrgetter("globex_state")),
    "a false token, by acme": _forge_event(
        _own_carrier, lambda live_calls: f"{live_calls.own_state[:-3]}AAA"
    ),
    "the end of acme's call without a token, by the deployment": _forge_event_without_state(
        _deployment_carrier, attrgetter("own_number"), "status", status="completed"
    ),
    "the end of acme's call at another number, by that number's account": (
        _forge_event_without_state(
            _second_carrier, attrgetter("second_number"), "status", status="completed"
        )
    ),
    "acme's call repeated at another number, by that number's account": (
        _forge_event_without_state(_second_carrier, attrgetter("second_number"), "voice")
    ),
    "altered body": _altered_request,
    "signed for another action": _request_for_another_action,
    "unsigned": _unsigned_request,
}


def _take_snapshot(db_snapshot: SnapshotChecker, *tenants: Tenant) -> list[Any]:
    """Return the checksums of the tenants and the counts of unrouted calls and jobs."""
    unrouted_calls = db_snapshot.rows("SELECT count(*), sum(misses) FROM public.did_misses")
    jobs = db_snapshot.rows("SELECT count(*) FROM jobs.procrastinate_jobs")
    return [*(db_snapshot.checksum(tenant.id) for tenant in tenants), unrouted_calls, jobs]


@pytest.mark.parametrize("name", FORGERIES)
def test_a_request_signed_by_another_account_returns_403_and_writes_nothing(
    name: str,
    live_calls: LiveCalls,
    acme: Tenant,
    globex: Tenant,
    carrier_client: CarrierClient,
    db_snapshot: SnapshotChecker,
) -> None:
    before = _take_snapshot(db_snapshot, acme, globex)

    response = carrier_client.send(FORGERIES[name](live_calls))

    assert (response.status_code, response.json["code"]) == (403, "forbidden")
    assert _take_snapshot(db_snapshot, acme, globex) == before


@pytest.mark.parametrize("in_live_call", [False, True])
def test_a_request_of_another_carrier_returns_403_and_writes_nothing(
    in_live_call: bool,
    live_calls: LiveCalls,
    acme: Tenant,
    globex: Tenant,
    carrier_client: CarrierClient,
    db_snapshot: SnapshotChecker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other carrier signs with the deployment's account and with an account of acme."""
    deployment_carrier = OtherCarrier("the deployment's own one")
    monkeypatch.setitem(providers.current_carriers()._adapters, OTHER_CARRIER, deployment_carrier)
    account = create_account(acme, provider_type=OTHER_CARRIER)
    account_carrier = OtherCarrier(account.fields["secret"])
    before = _take_snapshot(db_snapshot, acme, globex)

    calls = (
        ("own-1", live_calls.own_number, live_calls.own_state),
        ("deployment-1", live_calls.deployment_number, live_calls.deployment_state),
    )
    for carrier, (call_id, to, state) in product((deployment_carrier, account_carrier), calls):
        fields = {"text": "Hello?", "state": state} if in_live_call else {"to": to}
        action = "speech" if in_live_call else "voice"
        response = carrier_client.send(
            carrier.signed_request(action, OTHER_CARRIER_BASE_PATH, call_id=call_id, **fields)
        )
        assert response.status_code == 403

    assert _take_snapshot(db_snapshot, acme, globex) == before


def test_the_previous_secret_of_an_account_is_rejected_after_the_overlap(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "OVERLAP", timedelta(0))
    acme.patch(f"/telephony-accounts/{own_account.id}", {"fields": {"secret": "n" * 20}})
    account_client = own_account.carrier_client(anonymous)

    response = account_client.send(
        account_client.build_request("voice", call_id="late-1", to=number["did_number"])
    )

    assert response.status_code == 403
    assert _list_calls(acme) == []


def test_a_request_signed_by_a_deleted_account_returns_403(
    acme: Tenant, world: Factory, own_account: OwnAccount, number: dict[str, Any], anonymous: Api
) -> None:
    account_client = own_account.carrier_client(anonymous)
    state = account_client.ring(number["did_number"], "own-1")["state"]
    world.sql(acme, "UPDATE phone_numbers SET telephony_account_id = NULL")
    world.sql(acme, "DELETE FROM telephony_accounts")

    for action, fields in (("voice", {"to": number["did_number"]}), ("speech", {"state": state})):
        request = account_client.build_request(action, call_id="own-1", **fields)
        assert account_client.send(request).status_code == 403


def test_a_state_token_without_an_account_is_checked_against_the_calls_row(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    carrier_client: CarrierClient,
) -> None:
    account_client = own_account.carrier_client(anonymous)
    account_client.ring(number["did_number"], "own-1")
    ref = CallRef(acme.ref, UUID(_list_calls(acme)[0]["id"]))
    state = current_services().sign_state(ref, turns=1)

    fields = {"call_id": "own-1", "state": state, "text": "Hello?"}
    deployment_response = carrier_client.send(carrier_client.build_request("speech", **fields))
    account_response = account_client.send(account_client.build_request("speech", **fields))

    assert (deployment_response.status_code, account_response.status_code) == (403, 200)


# --- Database statements --------------------------------------------------------------------------


class StatementCounter:
    """Counts the statements of each request; `counts` has one number for each request."""

    def __init__(self) -> None:
        self._count = 0
        self.counts: list[int] = []

    def on_statement(self, *_: object) -> None:
        self._count += 1

    def measure(
        self, send: Callable[..., dict[str, Any]], *arguments: Any, **fields: Any
    ) -> dict[str, Any]:
        """Send a request, append its number of statements, and return the response."""
        self._count = 0
        response_body = send(*arguments, **fields)
        self.counts.append(self._count)
        return response_body


@pytest.fixture
def statement_counter(app: Flask) -> Iterator[StatementCounter]:
    counter, engine = StatementCounter(), db.current_database().engine
    event.listen(engine, "before_cursor_execute", counter.on_statement)
    yield counter
    event.remove(engine, "before_cursor_execute", counter.on_statement)


def _count_statements(
    counter: StatementCounter, client: CarrierClient, to: str, call_prefix: str
) -> list[int]:
    """Return the counts in the order of DEPLOYMENT_ACCOUNT_STATEMENTS."""
    client.ring(to, f"{call_prefix}-1")  # the first request of a process fills its caches
    client.send_status(f"{call_prefix}-1", "completed", to=to)
    counter.counts.clear()
    state = counter.measure(client.ring, to, f"{call_prefix}-2")["state"]
    counter.measure(client.say, f"{call_prefix}-2", state, "Hello?")
    counter.measure(client.send_status, f"{call_prefix}-2", "completed", state=state)
    client.ring(to, f"{call_prefix}-3")
    counter.measure(client.send_status, f"{call_prefix}-3", "completed", to=to)
    return list(counter.counts)


def test_a_tenants_account_adds_one_statement_to_each_request(
    acme: Tenant,
    own_account: OwnAccount,
    number: dict[str, Any],
    carrier_client: CarrierClient,
    anonymous: Api,
    statement_counter: StatementCounter,
) -> None:
    deployment_number = acme.number()["did_number"]
    deployment_counts = _count_statements(
        statement_counter, carrier_client, deployment_number, "plain"
    )
    account_client = own_account.carrier_client(anonymous)
    account_counts = _count_statements(
        statement_counter, account_client, number["did_number"], "own"
    )

    assert deployment_counts == DEPLOYMENT_ACCOUNT_STATEMENTS
    assert [
        account_count - deployment_count
        for account_count, deployment_count in zip(account_counts, deployment_counts, strict=True)
    ] == [1] * 4


# --- Operations at the carrier --------------------------------------------------------------------


def test_operations_for_a_number_use_its_account_and_not_the_deployments(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    number: dict[str, Any],
    anonymous: Api,
    carrier: FakeTelephonyAdapter,
) -> None:
    world.run_jobs(acme)
    account_client = own_account.carrier_client(anonymous)
    state = account_client.ring(number["did_number"], "own-1")["state"]
    own_account.carrier.live_calls.add("own-1")
    call_id = _list_calls(acme)[0]["id"]

    acme.post(f"/calls/{call_id}/say", {"text": "One moment."})
    assert (
        reconciliation.check_call(current_services().verify_state(state).ref, immediately=True)
        == "live"
    )
    acme.post(f"/calls/{call_id}/transfer", {"target": "sales"})
    acme.post(f"/calls/{call_id}/hangup")
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


def test_an_outbound_call_is_placed_by_the_account_of_its_number(
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
    [(_, arguments)] = own_account.carrier.operations
    token = current_services().verify_state(arguments["state"])
    assert token.account is not None
    assert str(token.account.account_id) == own_account.id
    assert acme.get(f"/calls/{call_id}").json["telephony_account_id"] == own_account.id


def test_a_recording_is_fetched_and_deleted_by_the_account_of_its_call(
    acme: Tenant,
    world: Factory,
    own_account: OwnAccount,
    anonymous: Api,
    carrier: FakeTelephonyAdapter,
) -> None:
    profile = acme.profile(greeting="Taped.", recording=True)
    number = acme.number(**own_account.number_fields, ai_profile_id=profile["id"])
    account_client = own_account.carrier_client(anonymous)
    state = account_client.ring(number["did_number"], "own-1")["state"]
    own_account.carrier.add_recording("own-1", b"RIFF")

    account_client.send_status("own-1", "completed", state=state)
    world.run_jobs(acme)

    assert _list_calls(acme)[0]["recording"]["status"] == "stored"
    assert requested_operations(own_account.carrier)[-2:] == ["recording", "delete_recording"]
    assert requested_operations(carrier) == []


def test_a_number_on_a_tenants_account_accepts_a_simulation(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any], carrier: FakeTelephonyAdapter
) -> None:
    call = acme.simulate(number["did_number"])

    assert acme.say(call["call_id"], "Hello?")["status"] == "in_progress"
    assert _list_calls(acme)[0]["telephony_account_id"] is None


def test_the_number_registry_stores_the_account_of_a_number(
    acme: Tenant, own_account: OwnAccount, number: dict[str, Any]
) -> None:
    with public_session() as session:
        entry = number_registry.get(session, number=number["did_number"])
        assert str(entry.telephony_account_id) == own_account.id
        moving_count = session.scalar(
            text("SELECT count(*) FROM public.dids WHERE previous_until > now()")
        )
    assert moving_count == 0 or entry.previous_until is None
