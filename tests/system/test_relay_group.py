"""The process group that serves voice WebSockets: what it serves, and a rolling restart.

Set `RELAY_CALLS=50` to restart with that number of live calls.
"""

import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Barrier

import pytest
from flask import Flask
from sqlalchemy import text

from tests.fakes.carriers.call_scripts import open_twilio_socket
from tests.fakes.carriers.carrier_websocket import handshake_is_refused, handshake_status
from tests.fakes.carriers.twilio.call import TwilioCall
from tests.fakes.carriers.twilio.connected_twilio import (
    ACCOUNT_LOGIN,
    ConnectedTwilio,
    connected_twilio,
)
from tests.fakes.carriers.twilio.relay_session import TwilioRelaySession
from tests.support import admin_db, rate_limits
from tests.support.api import Api, validator_of
from tests.support.factories import Factory, Tenant
from tests.support.processes import (
    GUNICORN_COMMAND,
    WebServer,
    free_port,
    process_environment,
    run_program,
    wait_until,
)
from tests.support.services import use_carriers, use_settings
from vca.settings import Settings
from vca.telephony import providers

CALLS = int(os.environ.get("RELAY_CALLS", "6"))


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of processes that serve calls which this process has started."""
    return process_environment(
        settings,
        TWILIO_ACCOUNT_SID=ACCOUNT_LOGIN.account_sid,
        TWILIO_AUTH_TOKEN=ACCOUNT_LOGIN.auth_token,
        GUNICORN_GROUP="relay",
        RELAY_SLOTS=str(2 * CALLS),
        RELAY_WORKERS="2",
        RELAY_THREADS=str(CALLS + 2),
        **rate_limits.HIGH_RATE_LIMITS,
    )


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[ConnectedTwilio]:
    use_settings(relay_slots=2 * CALLS)
    with connected_twilio() as connected:
        use_carriers(providers.Carriers(settings)).register(connected.adapter)
        yield connected
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


@pytest.fixture
def number(acme: Tenant, twilio: ConnectedTwilio, world: Factory) -> str:
    world.sql(acme, "UPDATE settings SET limits = '{\"concurrent_calls\": 1000}'")
    acme.profile(greeting="Hello.")
    return str(acme.number(provider_type="twilio")["did_number"])


@contextmanager
def run_group(environment: Mapping[str, str], output: Path) -> Iterator[WebServer]:
    """Run a group on its own port; wait until it responds and has two workers."""
    port = free_port()
    with run_program(GUNICORN_COMMAND, {**environment, "RELAY_PORT": str(port)}, output) as program:
        web = WebServer(program, port)

        def responds() -> bool:
            assert program.is_alive, output.read_text()
            with suppress(OSError):
                return web.get("/livez").status == 200
            return False

        wait_until(responds, within_s=60)
        wait_until(lambda: len(web.worker_pids()) == 2)
        yield web


def relay_url(web: WebServer) -> str:
    return f"ws://127.0.0.1:{web.port}/telephony/"


def test_only_the_relay_group_serves_voice_websockets(
    environment: dict[str, str], tmp_path: Path, anonymous: Api, number: str
) -> None:
    call = TwilioCall(anonymous, number)
    document = call.ring()
    with run_group(environment, tmp_path / "relay.log") as web:
        socket = open_twilio_socket(relay_url(web), document.find("ConversationRelay"), call.sid)

        assert socket.say("Hello?")
        assert web.get("/healthz").status == 200
        assert handshake_is_refused(f"{relay_url(web)}twilio/relay", {})
        # The group has an account with Twilio only.
        assert handshake_is_refused(f"{relay_url(web)}telnyx/relay", {})
        socket.close()
    assert anonymous.get("/telephony/twilio/relay").status_code == 405


def test_strangers_are_limited_but_no_carrier_at_their_address_is(
    environment: dict[str, str], tmp_path: Path, anonymous: Api, number: str
) -> None:
    call = TwilioCall(anonymous, number)
    relay = call.ring().find("ConversationRelay")
    with run_group({**environment, "RATE_LIMIT_FAILURES": "5"}, tmp_path / "relay.log") as web:
        statuses = [handshake_status(f"{relay_url(web)}telnyx/relay", {}) for _ in range(30)]
        socket = open_twilio_socket(relay_url(web), relay, call.sid)

        assert socket.say("Hello?")
        socket.close()
    assert statuses[0] == 404
    assert statuses[-1] == 429
    assert set(statuses) == {404, 429}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"RELAY_SLOTS": "0"}, "GUNICORN_GROUP is relay"),
        ({"RELAY_SLOTS": "100", "RELAY_WORKERS": "2", "RELAY_THREADS": "49"}, "RELAY_SLOTS is 100"),
    ],
)
def test_contradictory_settings_are_reported_at_the_start(
    environment: dict[str, str], tmp_path: Path, overrides: dict[str, str], message: str
) -> None:
    output = tmp_path / "relay.log"
    with run_program(GUNICORN_COMMAND, {**environment, **overrides}, output) as program:
        wait_until(lambda: not program.is_alive)

    assert f"VCA cannot start: {message}" in output.read_text()


class LiveCall:
    """A call whose caller talks; its carrier opens each connection at `relay_url`.

    `waits_for_loss`: the caller does not speak while a process dies, because what the carrier has
    delivered to a process that was killed before it read it cannot be answered.
    """

    def __init__(self, app: Flask, number: str, relay_url: str, *, waits_for_loss: bool) -> None:
        self.call = TwilioCall(Api(app, validator_of(app), key=None), number)
        self.relay_url = relay_url
        self.waits_for_loss = waits_for_loss
        self.utterances: list[str] = []
        self.connection_count = 0

    def talk(self, ready: Barrier, shutdown_started: Barrier) -> None:
        """Talk before, during and after the shutdown of the first process group."""
        relay = self.call.ring().find("ConversationRelay")
        session = TwilioRelaySession(lambda: self.relay_url, relay, self.call.sid)
        self._say(session)
        ready.wait(60)
        shutdown_started.wait(60)
        if self.waits_for_loss:
            wait_until(lambda: not session.socket.client.connected)
        self._say(session)  # on either connection, or between the two
        while session.connection_count == 1:
            with suppress(AssertionError):  # nothing is spoken while the process drains
                session.receive_frame(1)
        self._say(session)
        self.connection_count = session.connection_count
        session.hang_up()
        self.call.hang_up()

    def _say(self, session: TwilioRelaySession) -> None:
        utterance = f"Hello, this is utterance number {len(self.utterances) + 1}."
        self.utterances.append(utterance)
        session.send("prompt", voicePrompt=utterance, last=True)
        while not session.receive_frame(40)["last"]:
            pass


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_loses_no_call_and_no_utterance(
    environment: dict[str, str],
    tmp_path: Path,
    app: Flask,
    acme: Tenant,
    number: str,
    signal_number: signal.Signals,
) -> None:
    ready, shutdown_started = Barrier(CALLS + 1), Barrier(CALLS + 1)
    with (
        run_group(environment, tmp_path / "old.log") as old,
        run_group(environment, tmp_path / "new.log") as new,
        ThreadPoolExecutor(CALLS) as threads,
    ):
        is_killed = signal_number == signal.SIGKILL
        calls = [
            LiveCall(app, number, relay_url(old), waits_for_loss=is_killed) for _ in range(CALLS)
        ]
        talks: list[Future[None]] = [
            threads.submit(call.talk, ready, shutdown_started) for call in calls
        ]
        ready.wait(60)
        for call in calls:
            call.relay_url = relay_url(new)

        worker_pids = old.worker_pids()
        old.program.process.send_signal(signal_number)
        if is_killed:
            for pid in worker_pids:
                os.kill(pid, signal_number)
        shutdown_started.wait(60)

        for talk in talks:
            talk.result(timeout=90)
        assert old.program.process.wait(timeout=60) == (-signal_number if is_killed else 0)
        assert new.program.is_alive
        if not is_killed:
            assert {line["level"] for line in old.program.lines()} <= {"info", "debug"}
    assert [call.connection_count for call in calls] == [2] * CALLS
    listed_calls = acme.get("/calls", limit=100).json
    assert {(call["status"], call["end_reason"]) for call in listed_calls} == {
        ("completed", "caller_hangup")
    }
    stored_utterances = sorted(_callers_turns(acme, call["id"]) for call in listed_calls)
    assert stored_utterances == sorted(call.utterances for call in calls)


def _callers_turns(tenant: Tenant, call_id: str) -> list[str]:
    turns = tenant.get(f"/calls/{call_id}/turns", limit=100).json
    return [turn["text"] for turn in turns if turn["speaker"] == "caller"]
