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

from tests.doubles.hostile_model import CALLS, transfer
from tests.doubles.models import Rehearsed
from tests.flows.conftest import RealCarrier, Record, use
from tests.support.api import Api
from tests.support.carrier_line import CarrierLine, kinds
from tests.support.world import Tenant, World, fresh_number
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


class Watchman:
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


class WatchedCarrier(RealCarrier):
    """Asks the watchman before each thing that would go to a carrier."""

    watchman: ClassVar[Watchman]

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

    def __init__(self, watchman: Watchman, model: ModelClient) -> None:
        self._watchman, self._model = watchman, model

    def stream(self, request: ModelRequest) -> Generator[Chunk, None, Tokens | None]:
        self._watchman.look("analysis" if request.must_call else "model")
        for piece in self._model.stream(request):
            self._watchman.look("piece")
            yield piece
        return None


class WatchedStore(Store):
    """The same for the store of recordings."""

    def __init__(self, watchman: Watchman, store: Store) -> None:
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

    def __init__(self, watchman: Watchman) -> None:
        super().__init__("smtp://localhost", "vca@example.com")
        self._watchman = watchman

    def send(self, mail: Mail) -> None:
        self._watchman.look("mail")


class WatchedClient(OutgoingClient):
    """The same for tenants' own systems, of which nobody is connected to."""

    def __init__(self, watchman: Watchman, answer: HttpResponse) -> None:
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
def watchman(app: Flask) -> Iterator[Watchman]:
    """He knows every connection that is taken out of the pool from here on."""
    found, engine = Watchman(), db.current_database().engine
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
def carrier(watchman: Watchman, settings: Settings) -> WatchedCarrier:
    """A carrier at whose door he stands."""
    WatchedCarrier.watchman = watchman
    fresh = WatchedCarrier(f"fake-carrier|{settings.secret_key}")
    providers.set_current_carriers(providers.Carriers(settings)).register(fresh)
    return fresh


@pytest.fixture
def line(carrier: WatchedCarrier, anonymous: Api) -> CarrierLine:
    return CarrierLine(carrier, anonymous)


@pytest.fixture
def says(watchman: Watchman) -> Callable[..., None]:
    """Let a model say and do this, one list for each question."""

    def rehearsed(*answers: list[str | ToolCall]) -> None:
        use(WatchedModel(watchman, Rehearsed(*answers)))

    return rehearsed


@pytest.fixture
def number(acme: Tenant, world: World) -> dict[str, Any]:
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
    line: CarrierLine,
    carrier: WatchedCarrier,
    watchman: Watchman,
    says: Callable[..., None],
    record: Record,
    world: World,
    number: dict[str, Any],
) -> None:
    acme = record.tenant
    noted = '{"summary": "A transfer.", "outcome": "message_taken"}'
    says(
        ["I connect you.", transfer("sales")],
        ["Noted.", CALLS["take_message"]],
        [ToolCall("note_call", noted)],
    )
    world.work(acme)
    state = line.ring(number["did_number"], "call-1")["state"]
    carrier.live_calls.add("call-1")
    ref = current_services().verify_state(state).ref
    away = line.say("call-1", state, "Sales, please.")
    assert kinds(away)[-1] == "transfer"
    back = line.tell("leg", "call-1", away["state"], outcome="busy")
    line.say("call-1", back["state"], "Tell them that I called.")
    assert reconciliation.check_call(ref, immediately=True) == "live"
    carrier.add_recording("call-1", b"RIFF")
    line.status("call-1", "completed", state=state)
    world.work(acme)

    assert record.call["summary"] == "A transfer."
    assert watchman.caught == []
    asked = {"register_number", "model", "piece", "look_up", "analysis", "mail", "recording"}
    assert set(watchman.used) >= asked | {"chunk", "put", "open", "delete_recording"}


def test_nothing_is_open_while_a_call_is_placed_found_and_hung_up(
    carrier: WatchedCarrier, watchman: Watchman, world: World, acme: Tenant, number: dict[str, Any]
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
    world.work(acme)

    assert watchman.caught == []
    assert set(watchman.used) >= {"place_call", "find_call", "hang_up", "unregister_number"}


def test_nothing_is_open_while_a_tenants_own_system_decides_about_a_call(
    line: CarrierLine,
    watchman: Watchman,
    record: Record,
    acme: Tenant,
    number: dict[str, Any],
) -> None:
    http.set_current_client(
        WatchedClient(watchman, HttpResponse(200, {}, b'{"decision": "reject"}'))
    )
    url = {"url": "https://acme.example/decide"}
    acme.post(f"/phone-numbers/{number['id']}/decision-webhook", url)

    line.ring(number["did_number"], "call-1")

    assert record.end == ("failed", "declined")
    assert watchman.caught == []
    assert watchman.used == ["check", "post"]


# --- The watchman himself ------------------------------------------------------------------------


_QUESTION = ModelRequest(Profile("Ada", "custom", "Be brief."), "", ())


@pytest.mark.parametrize("what", ["model", "hang_up", "direct", "put", "mail"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_watchman_sees_a_transaction_wherever_it_is_open(
    carrier: WatchedCarrier, watchman: Watchman, acme: Tenant, what: str, elsewhere: bool
) -> None:
    ways: dict[str, Callable[[], object]] = {
        "model": lambda: list(WatchedModel(watchman, Rehearsed([])).stream(_QUESTION)),
        "hang_up": lambda: carrier.hang_up("call-1"),
        "direct": lambda: carrier.update_live_call(
            "call-1", CallReply((Say("Hi."),)), callback_url=""
        ),
        "put": lambda: storage.current_store().delete("a/b.wav"),
        "mail": lambda: WatchedMailer(watchman).send(None),  # type: ignore[arg-type]
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

    assert watchman.caught == watchman.used != []
