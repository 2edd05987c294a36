"""The group that serves carriers' sockets, as processes: what it serves, and how it is replaced.

`RELAY_CALLS=50` plays the restart under so many calls.
"""

import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier

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
    """Of processes that serve what this process's requests have begun."""
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
    with connected_twilio() as made:
        providers.set_current_carriers(providers.Carriers(settings)).register(made.adapter)
        yield made
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


@pytest.fixture
def number(acme: Tenant, twilio: ConnectedTwilio, world: Factory) -> str:
    world.sql(acme, "UPDATE settings SET limits = '{\"concurrent_calls\": 1000}'")
    acme.profile(greeting="Hello.")
    return str(acme.number(provider_type="twilio")["did_number"])


@contextmanager
def group(environment: Mapping[str, str], output: Path) -> Iterator[WebServer]:
    """A group of its own port, up when the block begins."""
    port = free_port()
    with run_program(GUNICORN_COMMAND, {**environment, "RELAY_PORT": str(port)}, output) as program:
        web = WebServer(program, port)

        def up() -> bool:
            assert program.is_alive, output.read_text()
            with suppress(OSError):
                return web.get("/livez").status == 200
            return False

        wait_until(up, within_s=60)
        wait_until(lambda: len(web.worker_pids()) == 2)
        yield web


def at(web: WebServer) -> str:
    return f"ws://127.0.0.1:{web.port}/telephony/"


def test_the_group_serves_sockets_and_the_others_do_not(
    environment: dict[str, str], tmp_path: Path, anonymous: Api, number: str
) -> None:
    call = TwilioCall(anonymous, number)
    document = call.ring()
    with group(environment, tmp_path / "relay.log") as web:
        socket = open_twilio_socket(at(web), document.find("ConversationRelay"), call.sid)

        assert socket.say("Hello?")
        assert web.get("/healthz").status == 200
        assert handshake_is_refused(f"{at(web)}twilio/relay", {})
        socket.close()
    assert anonymous.get("/telephony/twilio/relay").status_code == 405


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"RELAY_SLOTS": "0"}, "GUNICORN_GROUP is relay"),
        ({"RELAY_SLOTS": "100", "RELAY_WORKERS": "2", "RELAY_THREADS": "49"}, "RELAY_SLOTS is 100"),
    ],
)
def test_what_contradicts_itself_is_told_at_the_start(
    environment: dict[str, str], tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    output = tmp_path / "relay.log"
    with run_program(GUNICORN_COMMAND, {**environment, **changed}, output) as program:
        wait_until(lambda: not program.is_alive)

    assert f"VCA cannot start: {said}" in output.read_text()


class LiveCall:
    """A caller who goes on talking; `place` says where his carrier opens the next socket."""

    def __init__(self, app: Flask, number: str, first: str) -> None:
        self.call = TwilioCall(Api(app, validator_of(app), key=None), number)
        self.place = first
        self.answers = 0
        self.sockets = 0

    def talk(self, ready: Barrier, begun: Barrier) -> None:
        """Until the first socket was ended and the next one has answered; after `begun` once."""
        socket = self._open(self.call.ring().find("ConversationRelay"))
        self._say(socket)
        ready.wait(60)
        begun.wait(60)
        handoff = self._say(socket) or socket.receive_end()
        socket.close()
        assert handoff == "resume"
        again = self.call.end_relay(handoff)
        assert again.verbs == ["Connect"]
        assert again.find("ConversationRelay").get("welcomeGreeting") is None
        following = self._open(again.find("ConversationRelay"))
        assert self._say(following) == ""
        following.close()
        self.call.hang_up()

    def _open(self, relay: object) -> CarrierWebSocket:
        self.sockets += 1
        return open_twilio_socket(self.place, relay, self.call.sid)  # type: ignore[arg-type]

    def _say(self, socket: CarrierWebSocket) -> str:
        """Say something and hear the answer to its end, or with what word the socket is ended."""
        socket.send("prompt", voicePrompt="Hello?", last=True)
        while True:
            frame = socket.receive_frame(40)
            if frame["type"] == "end":
                return str(frame["handoffData"])
            if frame["last"]:
                self.answers += 1
                return ""


def test_a_rolling_restart_loses_no_call(
    environment: dict[str, str], tmp_path: Path, app: Flask, acme: Tenant, number: str
) -> None:
    ready, begun = Barrier(CALLS + 1), Barrier(CALLS + 1)
    with (
        group(environment, tmp_path / "old.log") as old,
        group(environment, tmp_path / "new.log") as new,
        ThreadPoolExecutor(CALLS) as threads,
    ):
        calls = [LiveCall(app, number, at(old)) for _ in range(CALLS)]
        held: list[Future[None]] = [threads.submit(call.talk, ready, begun) for call in calls]
        ready.wait(60)
        for call in calls:
            call.place = at(new)

        old.program.process.send_signal(signal.SIGTERM)
        begun.wait(60)

        for each in held:
            each.result(timeout=90)
        assert old.program.process.wait(timeout=60) == 0
        assert new.program.is_alive
        assert {line["level"] for line in old.program.lines()} <= {"info", "debug"}
    assert [call.sockets for call in calls] == [2] * CALLS
    assert all(call.answers >= 2 for call in calls)
    found = acme.get("/calls", limit=100).json
    assert {(call["status"], call["end_reason"]) for call in found} == {
        ("completed", "caller_hangup")
    }
    assert len(found) == CALLS
