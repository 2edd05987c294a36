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

from tests.carriers.players import twilio_socket
from tests.carriers.sockets import CarrierSocket, is_refused
from tests.carriers.twilio.line import TwilioCall
from tests.carriers.twilio.rig import OURS, Rig, rig
from tests.support import limits, owner
from tests.support.api import Api, openapi_of
from tests.support.processes import GUNICORN, Web, free_port, running, until
from tests.support.world import Tenant, World
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
        "TWILIO_ACCOUNT_SID": OURS.account_sid,
        "TWILIO_AUTH_TOKEN": OURS.auth_token,
        "GUNICORN_GROUP": "relay",
        "RELAY_SLOTS": str(2 * CALLS),
        "RELAY_WORKERS": "2",
        "RELAY_THREADS": str(CALLS + 2),
        **limits.PLENTY,
    }


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[Rig]:
    call_services.set_current_services(
        replace(call_services.current_services(), relay_slots=2 * CALLS)
    )
    with rig() as made:
        providers.set_current_carriers(providers.Carriers(settings)).register(made.adapter)
        yield made
    with owner.public() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


@pytest.fixture
def number(acme: Tenant, twilio: Rig, world: World) -> str:
    world.sql(acme, "UPDATE settings SET limits = '{\"concurrent_calls\": 1000}'")
    acme.profile(greeting="Hello.")
    return str(acme.number(provider_type="twilio")["did_number"])


@contextmanager
def group(environment: Mapping[str, str], output: Path) -> Iterator[Web]:
    """A group of its own port, up when the block begins."""
    port = free_port()
    with running(GUNICORN, {**environment, "RELAY_PORT": str(port)}, output) as program:
        web = Web(program, port)

        def up() -> bool:
            assert program.alive, output.read_text()
            with suppress(OSError):
                return web.get("/livez").status == 200
            return False

        until(up, within_s=60)
        until(lambda: len(web.workers()) == 2)
        yield web


def at(web: Web) -> str:
    return f"ws://127.0.0.1:{web.port}/telephony/"


def test_the_group_serves_sockets_and_the_others_do_not(
    environment: dict[str, str], tmp_path: Path, anonymous: Api, number: str
) -> None:
    call = TwilioCall(anonymous, number)
    document = call.ring()
    with group(environment, tmp_path / "relay.log") as web:
        socket = twilio_socket(at(web), document.find("ConversationRelay"), call.sid)

        assert socket.say("Hello?")
        assert web.get("/healthz").status == 200
        assert is_refused(f"{at(web)}twilio/relay", {})
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
    with running(GUNICORN, {**environment, **changed}, output) as program:
        until(lambda: not program.alive)

    assert f"VCA cannot start: {said}" in output.read_text()


class LiveCall:
    """A caller who goes on talking; `place` says where his carrier opens the next socket."""

    def __init__(self, app: Flask, number: str, first: str) -> None:
        self.call = TwilioCall(Api(app, openapi_of(app), key=None), number)
        self.place = first
        self.answers = 0
        self.sockets = 0

    def talk(self, ready: Barrier, begun: Barrier) -> None:
        """Until the first socket was ended and the next one has answered; after `begun` once."""
        socket = self._open(self.call.ring().find("ConversationRelay"))
        self._say(socket)
        ready.wait(60)
        begun.wait(60)
        handoff = self._say(socket) or socket.ended()
        socket.close()
        assert handoff == "resume"
        again = self.call.relay_ended(handoff)
        assert again.verbs == ["Connect"]
        assert again.find("ConversationRelay").get("welcomeGreeting") is None
        following = self._open(again.find("ConversationRelay"))
        assert self._say(following) == ""
        following.close()
        self.call.hang_up()

    def _open(self, relay: object) -> CarrierSocket:
        self.sockets += 1
        return twilio_socket(self.place, relay, self.call.sid)  # type: ignore[arg-type]

    def _say(self, socket: CarrierSocket) -> str:
        """Say something and hear the answer to its end, or with what word the socket is ended."""
        socket.tell("prompt", voicePrompt="Hello?", last=True)
        while True:
            frame = socket.hear(40)
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
        assert new.program.alive
        assert {line["level"] for line in old.program.lines()} <= {"info", "debug"}
    assert [call.sockets for call in calls] == [2] * CALLS
    assert all(call.answers >= 2 for call in calls)
    found = acme.get("/calls", limit=100).json
    assert {(call["status"], call["end_reason"]) for call in found} == {
        ("completed", "caller_hangup")
    }
    assert len(found) == CALLS
