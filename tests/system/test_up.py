"""`flask up`: what a newcomer sees, and that nothing is left behind, whatever happens."""

import http.client
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.processes import free_port
from tests.system.conftest import FLASK, LAST_LINE, ROOT, TIMEOUT_S, Machine, UpProcess, wait_until
from vca.kit import json

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def _follow(line: str) -> Any:
    """What the printed curl line answers, without needing curl."""
    words = shlex.split(line)
    assert words[:2] == ["curl", "-H"]
    header, _, value = words[2].partition(": ")
    url = urlsplit(words[3])
    connection = http.client.HTTPConnection(url.netloc, timeout=TIMEOUT_S)
    connection.request("GET", url.path, headers={header: value})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200, body
    return json.loads(body)


def _copy_until(words: str, terminal: int, output: Path) -> None:
    """Read what is shown on the terminal, until `words` are."""
    shown = b""
    while words.encode() not in shown:
        readable, _, _ = select.select([terminal], [], [], TIMEOUT_S)
        assert readable, shown
        shown += os.read(terminal, 10_000)
        output.write_bytes(shown)


def _curl(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("  curl "))


def _keys(text: str) -> list[str]:
    return re.findall(r"vca_\w+", text)


def _nothing_is_left(machine: Machine, up: UpProcess) -> bool:
    """No child, no Postgres, nobody on the port, and no traceback on the way out."""
    wait_until(lambda: not up.surviving_children())
    logs = "".join(log.read_text() for log in machine.root.glob("*.log"))
    with socket.create_server(("127.0.0.1", machine.port)):
        return not machine.postgres_runs and "Traceback" not in up.text + logs


def test_a_newcomer_is_told_all_that_is_needed_and_finds_it_again(machine: Machine) -> None:
    first = machine.execute_up()
    text = first.wait_for_summary()

    assert f"http://127.0.0.1:{machine.port}/docs" in text
    assert "make call" in text
    assert _follow(_curl(text))[0]["did_number"] == "+14155550100"
    assert {"+14155550100", "+442079460123"} <= set(re.findall(r"\+\d+", text))
    assert f"{machine.root}/worker.log" in text
    assert first.stop(signal.SIGINT) == 0
    assert first.text.endswith("Stopping …\nStopped.\n")
    assert _nothing_is_left(machine, first)

    second = machine.execute_up()
    again = second.wait_for_summary()

    assert _keys(again) == _keys(text)
    assert _follow(_curl(again))[0]["did_number"] == "+14155550100"
    second.process.terminate()
    assert second.process.wait(TIMEOUT_S) == 0
    assert _nothing_is_left(machine, second)


def test_with_slots_the_group_of_sockets_runs_too(machine: Machine) -> None:
    port = free_port()
    up = machine.start_up(RELAY_SLOTS="4", RELAY_PORT=str(port))
    up.wait_for_summary()

    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        with suppress(OSError), closing(connection):
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        return False

    assert wait_until(answers)
    assert up.stop() == 0
    assert _nothing_is_left(machine, up)


def test_a_taken_port_is_one_sentence_before_anything_is_started(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", machine.port)):
        up = machine.start_up()
        status = up.process.wait(TIMEOUT_S)

    assert status == 1
    assert up.text.startswith(f"Error: Port {machine.port} is in use")
    assert up.text.count("\n") == 1
    assert not machine.folder.exists()


def test_production_is_refused_in_one_sentence(machine: Machine) -> None:
    up = machine.start_up(
        APP_ENV="production",
        DATABASE_URL="postgresql://nobody@127.0.0.1:1/vca",
        TELEPHONY_PROVIDER="",
    )

    assert up.process.wait(TIMEOUT_S) == 1
    assert up.text.startswith("Error: `flask up` is for development")
    assert up.text.count("\n") == 1


def test_a_child_that_dies_is_named_and_the_rest_is_stopped(machine: Machine) -> None:
    up = machine.start_up(WEB_WORKERS="2")
    up.wait_for_summary()

    os.kill(up.find_child("gunicorn"), signal.SIGKILL)

    assert up.process.wait(TIMEOUT_S) == 1
    assert "Error: gunicorn ended by itself (SIGKILL)" in up.text
    assert '"path":"/livez"' in up.text
    assert _nothing_is_left(machine, up)


def test_a_child_that_does_not_stop_is_stopped_by_a_second_ctrl_c(machine: Machine) -> None:
    up = machine.start_up()
    up.wait_for_summary()
    os.kill(up.find_child("gunicorn"), signal.SIGSTOP)

    up.send_signal(signal.SIGINT)
    up.wait_for_output("Stopping")
    wait_until(lambda: up.send_signal(signal.SIGINT) or "Stopped." in up.text)

    up.process.wait(TIMEOUT_S)
    assert _nothing_is_left(machine, up)


def test_killed_it_takes_its_children_along_and_the_next_one_joins_postgres(
    machine: Machine,
) -> None:
    killed = machine.start_up()
    killed.wait_for_summary()

    killed.process.kill()
    wait_until(lambda: not killed.surviving_children())

    assert machine.postgres_runs
    joining = machine.start_up()
    assert "except Postgres, which was already running" in joining.wait_for_summary()
    assert _keys(joining.text) == _keys(killed.text)
    assert joining.stop() == 0
    assert not joining.surviving_children()
    assert machine.postgres_runs


@pytest.mark.parametrize("moment", ["at once", "while Postgres starts"])
def test_ctrl_c_during_the_start_leaves_nothing(machine: Machine, moment: str) -> None:
    up = machine.execute_up()
    up.wait_for_output("Starting")
    wait_until(up.descendants)
    if moment == "while Postgres starts":
        wait_until((machine.folder / "data" / "postmaster.pid").exists)
    up.known_children = up.descendants()

    status = up.stop(signal.SIGINT)

    assert status == 0
    assert LAST_LINE not in up.text
    assert _nothing_is_left(machine, up)


def test_a_closed_terminal_leaves_nothing(machine: Machine) -> None:
    terminal, end = os.openpty()
    # The terminal becomes the one that controls the process, so that closing it is noticed.
    # Under nohup it would inherit that hang-ups are ignored.
    begin = "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    begin += "signal.signal(signal.SIGHUP, signal.SIG_DFL);"
    begin += "os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", begin, *FLASK, "up"],
        cwd=ROOT,
        env=machine.environment,
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    up = UpProcess(process, machine.root / "terminal")
    machine.runs.append(up)
    _copy_until(LAST_LINE, terminal, up.output)
    up.known_children = up.descendants()

    os.close(terminal)

    assert process.wait(TIMEOUT_S) == 0
    assert _nothing_is_left(machine, up)
