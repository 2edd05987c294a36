"""No transaction is open while the network is used: not in the thread that uses it, nor elsewhere.

Every way out of the process asks a watchman, who looks at all the connections of the pool.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from threading import Event, Thread
from typing import Any, ClassVar
from uuid import UUID

import pytest
from flask import Flask
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import event

from tests.fakes.hostile_model import TOOL_CALLS, transfer
from tests.fakes.models import SequenceModel
from tests.integration.calls.conftest import CallRecord, RealCallerCarrier, use_model
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient, action_types
from tests.support.factories import Factory, Tenant, fresh_number
from vca.conversation.llm import Chunk, ModelClient, ModelRequest, ToolCall
from vca.conversation.types import Profile, Tokens
from vca.kit import db, http, mail, storage
from vca.kit.http import TIMEOUT_S, HttpResponse, OutgoingClient, UrlPolicy
from vca.kit.mail import Mail, Mailer
from vca.kit.storage import ObjectInfo, ObjectReader, Store
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.types import CallReply, Recording, Say
from vca.tenancy.session import tenant_session
from vca.tenant.calls.control import outbound_calls, reconciliation
from vca.tenant.calls.core.call_services import current_services
from vca.tenant.calls.core.call_types import CallRef


class TransactionMonitor:
    """Notes each use of the network, and those during which a transaction was open."""

    def __init__(self) -> None:
        self._out: set[Any] = set()
        self.used: list[str] = []
        self.caught: list[str] = []

    def checked_out(self, connection: Any, *_: object) -> None:
        self._out.add(connection)

    def checked_in(self, connection: Any, *_: object) -> None:
        self._out.discard(connection)

    def look(self, what: str) -> None:
        self.used.append(what)
        states = [connection.info.transaction_status for connection in list(self._out)]
        if any(state != TRANSACTION_STATUS_IDLE for state in states):
            self.caught.append(what)


class WatchedCarrier(RealCallerCarrier):
    """Asks the watchman before each thing that would go to a carrier."""

    watchman: ClassVar[TransactionMonitor]

    def _record_operation(self, operation: str, **arguments: Any) -> None:
        self.watchman.look(operation)
        super()._record_operation(operation, **arguments)

    def fetch_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        found = super().fetch_recording(provider_call_id, provider_recording_id)
        return found and Recording(found.content_type, self._watched(found.chunks))

    def _watched(self, chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
        for chunk in chunks:
            self.watchman.look("chunk")
            yield chunk


class WatchedModel(ModelClient):
    """The same for each piece of a model's answer."""

    deterministic: ClassVar[bool] = True

    def __init__(self, watchman: TransactionMonitor, model: ModelClient) -> None:
        self._watchman, self._model = watchman, model

    def stream(self, request: ModelRequest) -> Generator[Chunk, None, Tokens | None]:
        self._watchman.look("analysis" if request.must_call else "model")
        for piece in self._model.stream(request):
            self._watchman.look("piece")
            yield piece
        return None


class WatchedStore(Store):
    """The same for the store of recordings."""

    def __init__(self, watchman: TransactionMonitor, store: Store) -> None:
        self._watchman, self._store = watchman, store

    def put(self, key: str, chunks: Iterable[bytes], *, content_type: str) -> ObjectInfo:
        self._watchman.look("put")
        return self._store.put(key, chunks, content_type=content_type)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> ObjectReader:
        self._watchman.look("open")
        return self._store.open(key, start=start, length=length)

    def exists(self, key: str) -> bool:
        self._watchman.look("exists")
        return self._store.exists(key)

    def delete(self, key: str) -> None:
        self._watchman.look("delete")
        self._store.delete(key)

    def delete_all(self, folder: str) -> int:
        self._watchman.look("delete_all")
        return self._store.delete_all(folder)

    def keys(self, folder: str) -> Iterator[str]:
        self._watchman.look("keys")
        return self._store.keys(folder)


class WatchedMailer(Mailer):
    """The same for mail, of which nothing is sent."""

    def __init__(self, watchman: TransactionMonitor) -> None:
        super().__init__("smtp://localhost", "vca@example.com")
        self._watchman = watchman

    def send(self, mail: Mail) -> None:
        self._watchman.look("mail")


class WatchedClient(OutgoingClient):
    """The same for tenants' own systems, of which nobody is connected to."""

    def __init__(self, watchman: TransactionMonitor, answer: HttpResponse) -> None:
        super().__init__(UrlPolicy())
        self._watchman, self._answer = watchman, answer

    def check(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._watchman.look("check")

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
    ) -> HttpResponse:
        self._watchman.look("post")
        return self._answer


@pytest.fixture
def transaction_monitor(app: Flask) -> Iterator[TransactionMonitor]:
    """He knows every connection that is taken out of the pool from here on."""
    found, engine = TransactionMonitor(), db.current_database().engine
    event.listen(engine, "checkout", found.checked_out)
    event.listen(engine, "checkin", found.checked_in)
    store = storage.current_store()
    storage.set_current_store(WatchedStore(found, store))
    mail.set_current_mailer(WatchedMailer(found))
    yield found
    mail.set_current_mailer(None)
    storage.set_current_store(store)
    event.remove(engine, "checkout", found.checked_out)
    event.remove(engine, "checkin", found.checked_in)


@pytest.fixture
def carrier(transaction_monitor: TransactionMonitor, settings: Settings) -> WatchedCarrier:
    """A carrier at whose door he stands."""
    WatchedCarrier.watchman = transaction_monitor
    fresh = WatchedCarrier(f"fake-carrier|{settings.secret_key}")
    providers.set_current_carriers(providers.Carriers(settings)).register(fresh)
    return fresh


@pytest.fixture
def carrier_client(carrier: WatchedCarrier, anonymous: Api) -> CarrierClient:
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def script_model(transaction_monitor: TransactionMonitor) -> Callable[..., None]:
    """Let a model say and do this, one list for each question."""

    def rehearsed(*answers: list[str | ToolCall]) -> None:
        use_model(WatchedModel(transaction_monitor, SequenceModel(*answers)))

    return rehearsed


@pytest.fixture
def number(acme: Tenant, world: Factory) -> dict[str, Any]:
    """A number that is recorded, whose agent connects and takes messages, which are mailed."""
    world.sql(acme, "UPDATE settings SET notification_email = 'desk@acme.example'")
    acme.profile(
        greeting="Acme here.",
        recording=True,
        tools=["transfer", "take_message"],
        transfer_targets={"sales": {"number": fresh_number()}},
    )
    return acme.number()


def test_nothing_is_open_while_a_whole_call_uses_the_network(
    carrier_client: CarrierClient,
    carrier: WatchedCarrier,
    transaction_monitor: TransactionMonitor,
    script_model: Callable[..., None],
    call_record: CallRecord,
    world: Factory,
    number: dict[str, Any],
) -> None:
    acme = call_record.tenant
    noted = '{"summary": "A transfer.", "outcome": "message_taken"}'
    script_model(
        ["I connect you.", transfer("sales")],
        ["Noted.", TOOL_CALLS["take_message"]],
        [ToolCall("note_call", noted)],
    )
    world.run_jobs(acme)
    state = carrier_client.ring(number["did_number"], "call-1")["state"]
    carrier.live_calls.add("call-1")
    ref = current_services().verify_state(state).ref
    away = carrier_client.say("call-1", state, "Sales, please.")
    assert action_types(away)[-1] == "transfer"
    back = carrier_client.send_event("leg", "call-1", away["state"], outcome="busy")
    carrier_client.say("call-1", back["state"], "Tell them that I called.")
    assert reconciliation.check_call(ref, immediately=True) == "live"
    carrier.add_recording("call-1", b"RIFF")
    carrier_client.send_status("call-1", "completed", state=state)
    world.run_jobs(acme)

    assert call_record.call["summary"] == "A transfer."
    assert transaction_monitor.caught == []
    asked = {"register_number", "model", "piece", "look_up", "analysis", "mail", "recording"}
    assert set(transaction_monitor.used) >= asked | {"chunk", "put", "open", "delete_recording"}


def test_nothing_is_open_while_a_call_is_placed_found_and_hung_up(
    carrier: WatchedCarrier,
    transaction_monitor: TransactionMonitor,
    world: Factory,
    acme: Tenant,
    number: dict[str, Any],
) -> None:
    with tenant_session(acme.ref) as session:
        to, own = fresh_number(), UUID(number["id"])
        call_id = outbound_calls.place_call(session, to=to, from_phone_number_id=own).id
    ref = CallRef(acme.ref, call_id)

    outbound_calls.dial(ref)
    world.sql(acme, "UPDATE calls SET provider_call_id = NULL")
    outbound_calls.dial(ref)
    acme.post(f"/calls/{call_id}/hangup")
    acme.delete(f"/phone-numbers/{number['id']}")
    world.run_jobs(acme)

    assert transaction_monitor.caught == []
    assert set(transaction_monitor.used) >= {
        "place_call",
        "find_call",
        "hang_up",
        "unregister_number",
    }


def test_nothing_is_open_while_a_tenants_own_system_decides_about_a_call(
    carrier_client: CarrierClient,
    transaction_monitor: TransactionMonitor,
    call_record: CallRecord,
    acme: Tenant,
    number: dict[str, Any],
) -> None:
    http.set_current_client(
        WatchedClient(transaction_monitor, HttpResponse(200, {}, b'{"decision": "reject"}'))
    )
    url = {"url": "https://acme.example/decide"}
    acme.post(f"/phone-numbers/{number['id']}/decision-webhook", url)

    carrier_client.ring(number["did_number"], "call-1")

    assert call_record.end_state == ("failed", "declined")
    assert transaction_monitor.caught == []
    assert transaction_monitor.used == ["check", "post"]


# --- The watchman himself ------------------------------------------------------------------------


_QUESTION = ModelRequest(Profile("Ada", "custom", "Be brief."), "", ())


@pytest.mark.parametrize("what", ["model", "hang_up", "direct", "put", "mail"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_watchman_sees_a_transaction_wherever_it_is_open(
    carrier: WatchedCarrier,
    transaction_monitor: TransactionMonitor,
    acme: Tenant,
    what: str,
    elsewhere: bool,
) -> None:
    ways: dict[str, Callable[[], object]] = {
        "model": lambda: list(
            WatchedModel(transaction_monitor, SequenceModel([])).stream(_QUESTION)
        ),
        "hang_up": lambda: carrier.hang_up("call-1"),
        "direct": lambda: carrier.update_live_call(
            "call-1", CallReply((Say("Hi."),)), callback_url=""
        ),
        "put": lambda: storage.current_store().delete("a/b.wav"),
        "mail": lambda: WatchedMailer(transaction_monitor).send(None),  # type: ignore[arg-type]
    }
    entered, done = Event(), Event()

    def inside() -> None:
        with tenant_session(acme.ref):
            entered.set()
            if elsewhere:
                done.wait(10)
            else:
                ways[what]()

    other = Thread(target=inside)
    other.start()
    entered.wait(10)
    if elsewhere:
        ways[what]()
    done.set()
    other.join()

    assert transaction_monitor.caught == transaction_monitor.used != []
