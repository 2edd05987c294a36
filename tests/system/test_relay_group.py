"""The process group that serves voice WebSockets: what it serves, and a rolling restart.

Set `RELAY_CALLS=50` to restart with that number of live calls.
"""

import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from xml.etree.ElementTree import Element

import pytest
from flask import Flask
from sqlalchemy import text

from tests.fakes.carriers.call_scripts import open_twilio_socket
from tests.fakes.carriers.carrier_websocket import CarrierWebSocket, handshake_is_refused
from tests.fakes.carriers.twilio.call import TwilioCall
from tests.fakes.carriers.twilio.connected_twilio import (
    ACCOUNT_LOGIN,
    ConnectedTwilio,
    connected_twilio,
)
from tests.support import admin_db, rate_limits
from tests.support.api import Api, validator_of
from tests.support.factories import Factory, Tenant
from tests.support.processes import GUNICORN_COMMAND, WebServer, free_port, run_program, wait_until
from vca.settings import Settings
from vca.telephony import providers
from vca.tenant.calls.core import call_services

CALLS = int(os.environ.get("RELAY_CALLS", "6"))


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of processes that serve calls which this process has started."""
    return {
        "DATABASE_URL": settings.database_url,
        "APP_ENV": "development",
        "APP_NAME": "VCA under test",
        "DEBUG": "false",
        "SECRET_KEY": settings.secret_key,
        "API_KEY_PEPPERS": ",".join(settings.api_key_peppers),
        "TELEPHONY_PROVIDER": "fake",
        "LOG_LEVEL": "info",
        "TWILIO_ACCOUNT_SID": ACCOUNT_LOGIN.account_sid,
        "TWILIO_AUTH_TOKEN": ACCOUNT_LOGIN.auth_token,
        "GUNICORN_GROUP": "relay",
        "RELAY_SLOTS": str(2 * CALLS),
        "RELAY_WORKERS": "2",
        "RELAY_THREADS": str(CALLS + 2),
        **rate_limits.HIGH_RATE_LIMITS,
    }


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[ConnectedTwilio]:
    call_services.set_current_services(
        replace(call_services.current_services(), relay_slots=2 * CALLS)
    )
    with connected_twilio() as connected:
        providers.set_current_carriers(providers.Carriers(settings)).register(connected.adapter)
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
        socket.close()
    assert anonymous.get("/telephony/twilio/relay").status_code == 405


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
    """A call whose caller talks; its carrier opens the next voice WebSocket at `relay_url`."""

    def __init__(self, app: Flask, number: str, relay_url: str) -> None:
        self.call = TwilioCall(Api(app, validator_of(app), key=None), number)
        self.relay_url = relay_url
        self.answer_count = 0
        self.socket_count = 0

    def talk(self, ready: Barrier, shutdown_started: Barrier) -> None:
        """Talk until the next socket has answered, after the first one has ended with a handoff."""
        socket = self._open(self.call.ring().find("ConversationRelay"))
        self._say(socket)
        ready.wait(60)
        shutdown_started.wait(60)
        handoff = self._say(socket) or socket.receive_end()
        socket.close()
        assert handoff == "resume"
        twiml = self.call.end_relay(handoff)
        assert twiml.verbs == ["Connect"]
        assert twiml.find("ConversationRelay").get("welcomeGreeting") is None
        next_socket = self._open(twiml.find("ConversationRelay"))
        assert self._say(next_socket) == ""
        next_socket.close()
        self.call.hang_up()

    def _open(self, relay: Element) -> CarrierWebSocket:
        self.socket_count += 1
        return open_twilio_socket(self.relay_url, relay, self.call.sid)

    def _say(self, socket: CarrierWebSocket) -> str:
        """Send an utterance. Return "" after the full answer, or the handoff of an ended socket."""
        socket.send("prompt", voicePrompt="Hello?", last=True)
        while True:
            frame = socket.receive_frame(40)
            if frame["type"] == "end":
                return str(frame["handoffData"])
            if frame["last"]:
                self.answer_count += 1
                return ""


def test_a_rolling_restart_loses_no_call(
    environment: dict[str, str], tmp_path: Path, app: Flask, acme: Tenant, number: str
) -> None:
    ready, shutdown_started = Barrier(CALLS + 1), Barrier(CALLS + 1)
    with (
        run_group(environment, tmp_path / "old.log") as old,
        run_group(environment, tmp_path / "new.log") as new,
        ThreadPoolExecutor(CALLS) as threads,
    ):
        calls = [LiveCall(app, number, relay_url(old)) for _ in range(CALLS)]
        talks: list[Future[None]] = [
            threads.submit(call.talk, ready, shutdown_started) for call in calls
        ]
        ready.wait(60)
        for call in calls:
            call.relay_url = relay_url(new)

        old.program.process.send_signal(signal.SIGTERM)
        shutdown_started.wait(60)

        for talk in talks:
            talk.result(timeout=90)
        assert old.program.process.wait(timeout=60) == 0
        assert new.program.is_alive
        assert {line["level"] for line in old.program.lines()} <= {"info", "debug"}
    assert [call.socket_count for call in calls] == [2] * CALLS
    assert all(call.answer_count >= 2 for call in calls)
    listed_calls = acme.get("/calls", limit=100).json
    assert {(call["status"], call["end_reason"]) for call in listed_calls} == {
        ("completed", "caller_hangup")
    }
    assert len(listed_calls) == CALLS
