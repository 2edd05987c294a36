"""No thread has an open transaction while the process uses the network.

Each client of an external system is replaced by one that reports its operations to a monitor. The
monitor checks all connections that are checked out of the pool.
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
from tests.fakes.models import (
    Answer,
    SequenceModel,
    streams_answer,
)
from tests.integration.calls.conftest import CallRecord, RealCallerCarrier, use_model
from tests.support.api import Api
from tests.support.carrier_client import CarrierClient, action_types
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services, use_carriers, use_services
from vca.conversation.llm import (
    AnswerSummary,
    ModelClient,
    ModelRequest,
    ToolCall,
)
from vca.conversation.types import Profile
from vca.kit import clock
from vca.kit.http import TIMEOUT_S, HttpResponse, OutgoingClient, UrlPolicy
from vca.kit.mail import Mail, Mailer
from vca.kit.storage import ObjectInfo, ObjectReader, Store
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.types import CallReply, Recording, Say
from vca.tenancy.session import tenant_session
from vca.tenant.calls.control import outbound_calls, reconciliation
from vca.tenant.calls.core import call_tokens
from vca.tenant.calls.core.call_types import CallRef


class TransactionMonitor:
    """Records the network operations, and those during which a transaction was open."""

    def __init__(self) -> None:
        self._connections: set[Any] = set()
        self.operations: list[str] = []
        self.violations: list[str] = []

    def on_checkout(self, connection: Any, *_: object) -> None:
        self._connections.add(connection)

    def on_checkin(self, connection: Any, *_: object) -> None:
        self._connections.discard(connection)

    def record_operation(self, operation: str) -> None:
        self.operations.append(operation)
        if any(map(_is_in_transaction, list(self._connections))):
            self.violations.append(operation)


def _is_in_transaction(connection: Any) -> bool:
    """Return whether a transaction is open, or will be with the next statement."""
    is_idle = connection.info.transaction_status == TRANSACTION_STATUS_IDLE
    return not is_idle or bool(connection.deferred_sql)


class MonitoredCarrier(RealCallerCarrier):
    """Reports each request to the carrier and each chunk of a recording."""

    monitor: ClassVar[TransactionMonitor]

    def _record_operation(self, operation: str, **arguments: Any) -> None:
        self.monitor.record_operation(operation)
        super()._record_operation(operation, **arguments)

    def fetch_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        recording = super().fetch_recording(provider_call_id, provider_recording_id)
        return recording and Recording(recording.content_type, self._monitored(recording.chunks))

    def _monitored(self, chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
        for chunk in chunks:
            self.monitor.record_operation("chunk")
            yield chunk


class MonitoredModel(ModelClient):
    """Reports each request to the model and each chunk of its answer."""

    deterministic: ClassVar[bool] = True

    def __init__(self, monitor: TransactionMonitor, model: ModelClient) -> None:
        self._monitor, self._model = monitor, model

    @streams_answer
    def stream(self, request: ModelRequest) -> Answer:
        self._monitor.record_operation("analysis" if request.must_call else "model")
        for chunk in self._model.stream(request):
            self._monitor.record_operation("model_chunk")
            yield chunk
        return AnswerSummary()


class MonitoredStore(Store):
    """Reports each operation of the store of recordings."""

    def __init__(self, monitor: TransactionMonitor, store: Store) -> None:
        self._monitor, self._store = monitor, store

    def put(self, key: str, chunks: Iterable[bytes], *, content_type: str) -> ObjectInfo:
        self._monitor.record_operation("put")
        return self._store.put(key, chunks, content_type=content_type)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> ObjectReader:
        self._monitor.record_operation("open")
        return self._store.open(key, start=start, length=length)

    def exists(self, key: str) -> bool:
        self._monitor.record_operation("exists")
        return self._store.exists(key)

    def delete(self, key: str) -> None:
        self._monitor.record_operation("delete")
        self._store.delete(key)

    def delete_all(self, folder: str) -> int:
        self._monitor.record_operation("delete_all")
        return self._store.delete_all(folder)

    def keys(self, folder: str) -> Iterator[str]:
        self._monitor.record_operation("keys")
        return self._store.keys(folder)


class MonitoredMailer(Mailer):
    """Reports each mail and sends none."""

    def __init__(self, monitor: TransactionMonitor) -> None:
        super().__init__("smtp://localhost", "vca@example.com")
        self._monitor = monitor

    def send(self, mail: Mail) -> None:
        self._monitor.record_operation("mail")


class MonitoredClient(OutgoingClient):
    """Reports each request to a tenant's server and returns one response, without a connection."""

    def __init__(self, monitor: TransactionMonitor, response: HttpResponse) -> None:
        super().__init__(UrlPolicy())
        self._monitor, self._response = monitor, response

    def check(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._monitor.record_operation("check")

    def post(self, url: str, body: bytes, headers: Mapping[str, str], **_: Any) -> HttpResponse:
        self._monitor.record_operation("post")
        return self._response


@pytest.fixture
def transaction_monitor(app: Flask) -> Iterator[TransactionMonitor]:
    """Return a monitor of the database's connections that the store and the mailer report to."""
    monitor, engine = TransactionMonitor(), app_services().database.engine
    event.listen(engine, "checkout", monitor.on_checkout)
    event.listen(engine, "checkin", monitor.on_checkin)
    store = app_services().store
    use_services(store=MonitoredStore(monitor, store))
    use_services(mailer=MonitoredMailer(monitor))
    yield monitor
    use_services(mailer=None)
    use_services(store=store)
    event.remove(engine, "checkout", monitor.on_checkout)
    event.remove(engine, "checkin", monitor.on_checkin)


@pytest.fixture
def carrier(transaction_monitor: TransactionMonitor, settings: Settings) -> MonitoredCarrier:
    """Install and return a carrier that reports to the monitor."""
    MonitoredCarrier.monitor = transaction_monitor
    adapter = MonitoredCarrier(f"fake-carrier|{settings.secret_key}")
    use_carriers(providers.Carriers(settings)).register(adapter)
    return adapter


@pytest.fixture
def carrier_client(carrier: MonitoredCarrier, anonymous: Api) -> CarrierClient:
    """Return a client that sends this carrier's webhooks."""
    return CarrierClient(carrier, anonymous)


@pytest.fixture
def script_model(transaction_monitor: TransactionMonitor) -> Callable[..., None]:
    """Return a function that installs a monitored model with one list of steps for each request."""

    def use_answers(*step_lists: list[str | ToolCall]) -> None:
        use_model(MonitoredModel(transaction_monitor, SequenceModel(*step_lists)))

    return use_answers


@pytest.fixture
def number(acme: Tenant, world: Factory) -> dict[str, Any]:
    """Return a number with recorded calls, transfers, and messages that are sent by mail."""
    world.sql(acme, "UPDATE settings SET notification_email = 'desk@acme.example'")
    acme.profile(
        greeting="Acme here.",
        recording=True,
        tools=["transfer", "take_message"],
        transfer_targets={"sales": {"number": fresh_number()}},
    )
    return acme.number()


def test_an_inbound_call_uses_the_network_without_an_open_transaction(
    carrier_client: CarrierClient,
    carrier: MonitoredCarrier,
    transaction_monitor: TransactionMonitor,
    script_model: Callable[..., None],
    call_record: CallRecord,
    world: Factory,
    number: dict[str, Any],
) -> None:
    acme = call_record.tenant
    analysis = '{"summary": "A transfer.", "outcome": "message_taken"}'
    script_model(
        ["I connect you.", transfer("sales")],
        ["Noted.", TOOL_CALLS["take_message"]],
        [ToolCall("note_call", analysis)],
    )
    world.run_jobs(acme)
    state = carrier_client.ring(number["did_number"], "call-1")["state"]
    carrier.live_calls.add("call-1")
    ref = call_tokens.verify_state(state, services=app_services()).ref
    transfer_response = carrier_client.say("call-1", state, "Sales, please.")
    assert action_types(transfer_response)[-1] == "transfer"
    leg_response = carrier_client.send_event(
        "leg", "call-1", transfer_response["state"], outcome="busy"
    )
    carrier_client.say("call-1", leg_response["state"], "Tell them that I called.")
    assert reconciliation.check_call(ref, immediately=True, services=app_services()) == "live"
    carrier.add_recording("call-1", b"RIFF")
    carrier_client.send_status("call-1", "completed", state=state)
    world.run_jobs(acme)

    assert call_record.call["summary"] == "A transfer."
    assert transaction_monitor.violations == []
    assert set(transaction_monitor.operations) >= {
        *("register_number", "model", "model_chunk", "look_up", "analysis", "mail", "recording"),
        *("chunk", "put", "open", "delete_recording"),
    }


def test_an_outbound_call_uses_the_network_without_an_open_transaction(
    carrier: MonitoredCarrier,
    transaction_monitor: TransactionMonitor,
    world: Factory,
    acme: Tenant,
    number: dict[str, Any],
) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        to, phone_number_id = fresh_number(), UUID(number["id"])
        call_id = outbound_calls.place_call(
            session, to=to, from_phone_number_id=phone_number_id, services=app_services()
        ).id
    ref = CallRef(acme.ref, call_id)

    outbound_calls.dial(ref, services=app_services())
    world.sql(acme, "UPDATE calls SET provider_call_id = NULL")
    outbound_calls.dial(ref, services=app_services())
    acme.post(f"/calls/{call_id}/hangup")
    acme.delete(f"/phone-numbers/{number['id']}")
    world.run_jobs(acme)

    assert transaction_monitor.violations == []
    assert set(transaction_monitor.operations) >= {
        "place_call",
        "find_call",
        "hang_up",
        "unregister_number",
    }


def test_a_decision_webhook_is_requested_without_an_open_transaction(
    carrier_client: CarrierClient,
    transaction_monitor: TransactionMonitor,
    call_record: CallRecord,
    acme: Tenant,
    number: dict[str, Any],
) -> None:
    use_services(
        http_client=MonitoredClient(
            transaction_monitor, HttpResponse(200, {}, b'{"decision": "reject"}')
        )
    )
    body = {"url": "https://acme.example/decide"}
    acme.post(f"/phone-numbers/{number['id']}/decision-webhook", body)

    carrier_client.ring(number["did_number"], "call-1")

    assert call_record.end_state == ("failed", "declined")
    assert transaction_monitor.violations == []
    assert transaction_monitor.operations == ["check", "post"]


# --- The monitor ---


_MODEL_REQUEST = ModelRequest(Profile("Ada", "custom", "Be brief."), "", ())


@pytest.mark.parametrize("operation", ["model", "hang_up", "direct", "put", "mail"])
@pytest.mark.parametrize("in_other_thread", [False, True])
def test_the_monitor_detects_open_transactions_of_all_threads(
    carrier: MonitoredCarrier,
    transaction_monitor: TransactionMonitor,
    acme: Tenant,
    operation: str,
    in_other_thread: bool,
) -> None:
    unsent_mail = Mail("a@acme.example", "Subject", "Text", "key", clock.now())
    operations: dict[str, Callable[[], object]] = {
        "model": lambda: list(
            MonitoredModel(transaction_monitor, SequenceModel([])).stream(_MODEL_REQUEST)
        ),
        "hang_up": lambda: carrier.hang_up("call-1"),
        "direct": lambda: carrier.update_live_call(
            "call-1", CallReply((Say("Hi."),)), callback_url=""
        ),
        "put": lambda: app_services().store.put("a/b.wav", [b"RIFF"], content_type="audio/wav"),
        "mail": lambda: MonitoredMailer(transaction_monitor).send(unsent_mail),
    }
    transaction_is_open, operation_is_done = Event(), Event()

    def run_in_transaction() -> None:
        with tenant_session(acme.ref, database=app_services().database):
            transaction_is_open.set()
            if in_other_thread:
                operation_is_done.wait(10)
            else:
                operations[operation]()

    thread = Thread(target=run_in_transaction)
    thread.start()
    transaction_is_open.wait(10)
    if in_other_thread:
        operations[operation]()
    operation_is_done.set()
    thread.join()

    assert transaction_monitor.violations == transaction_monitor.operations == [operation]
