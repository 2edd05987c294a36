"""The program `flask up`: its output, and that it leaves no process behind."""

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


def _run_curl(command: str) -> Any:
    """Send the request of a printed curl command and return its JSON, without curl."""
    arguments = shlex.split(command)
    assert arguments[:2] == ["curl", "-H"]
    header, _, value = arguments[2].partition(": ")
    url = urlsplit(arguments[3])
    connection = http.client.HTTPConnection(url.netloc, timeout=TIMEOUT_S)
    connection.request("GET", url.path, headers={header: value})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200, body
    return json.loads(body)


def _copy_output(expected: str, terminal: int, output: Path) -> None:
    """Copy the output of a terminal to a file until it contains the expected text."""
    displayed = b""
    while expected.encode() not in displayed:
        readable, _, _ = select.select([terminal], [], [], TIMEOUT_S)
        assert readable, displayed
        displayed += os.read(terminal, 10_000)
        output.write_bytes(displayed)


def _find_curl_line(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("  curl "))


def _keys(text: str) -> list[str]:
    return re.findall(r"vca_\w+", text)


def _is_cleaned_up(machine: Machine, up: UpProcess) -> bool:
    """Check that no child and no Postgres runs, the port is free and no traceback was printed."""
    wait_until(lambda: not up.surviving_children())
    logs = "".join(log.read_text() for log in machine.root.glob("*.log"))
    with socket.create_server(("127.0.0.1", machine.port)):
        return not machine.postgres_runs and "Traceback" not in up.text + logs


def test_the_summary_is_complete_and_the_same_after_a_restart(machine: Machine) -> None:
    first = machine.execute_up()
    text = first.wait_for_summary()

    assert f"http://127.0.0.1:{machine.port}/docs" in text
    assert "make call" in text
    assert _run_curl(_find_curl_line(text))[0]["did_number"] == "+14155550100"
    assert {"+14155550100", "+442079460123"} <= set(re.findall(r"\+\d+", text))
    assert f"{machine.root}/worker.log" in text
    assert first.stop(signal.SIGINT) == 0
    assert first.text.endswith("Stopping …\nStopped.\n")
    assert _is_cleaned_up(machine, first)

    second = machine.execute_up()
    second_text = second.wait_for_summary()

    assert _keys(second_text) == _keys(text)
    assert _run_curl(_find_curl_line(second_text))[0]["did_number"] == "+14155550100"
    second.process.terminate()
    assert second.process.wait(TIMEOUT_S) == 0
    assert _is_cleaned_up(machine, second)


def test_the_relay_group_runs_if_there_are_slots(machine: Machine) -> None:
    port = free_port()
    up = machine.start_up(RELAY_SLOTS="4", RELAY_PORT=str(port))
    up.wait_for_summary()

    def responds() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        with suppress(OSError), closing(connection):
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        return False

    assert wait_until(responds)
    assert up.stop() == 0
    assert _is_cleaned_up(machine, up)


def test_a_port_in_use_is_reported_before_any_process_starts(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", machine.port)):
        up = machine.start_up()
        status = up.process.wait(TIMEOUT_S)

    assert status == 1
    assert up.text.startswith(f"Error: Port {machine.port} is in use")
    assert up.text.count("\n") == 1
    assert not machine.folder.exists()


def test_production_settings_are_rejected_with_one_line(machine: Machine) -> None:
    up = machine.start_up(
        APP_ENV="production",
        DATABASE_URL="postgresql://nobody@127.0.0.1:1/vca",
        TELEPHONY_PROVIDER="",
    )

    assert up.process.wait(TIMEOUT_S) == 1
    assert up.text.startswith("Error: `flask up` is for development")
    assert up.text.count("\n") == 1


def test_a_child_that_dies_is_reported_and_all_others_are_stopped(machine: Machine) -> None:
    up = machine.start_up(WEB_WORKERS="2")
    up.wait_for_summary()

    os.kill(up.find_child("gunicorn"), signal.SIGKILL)

    assert up.process.wait(TIMEOUT_S) == 1
    assert "Error: gunicorn ended by itself (SIGKILL)" in up.text
    assert '"path":"/livez"' in up.text
    assert _is_cleaned_up(machine, up)


def _interrupt_again(up: UpProcess) -> bool:
    """Send Ctrl-C; return whether the program says that it has stopped."""
    up.send_signal(signal.SIGINT)
    return "Stopped." in up.text


def test_a_second_ctrl_c_stops_a_child_that_does_not_stop(machine: Machine) -> None:
    up = machine.start_up()
    up.wait_for_summary()
    os.kill(up.find_child("gunicorn"), signal.SIGSTOP)

    up.send_signal(signal.SIGINT)
    up.wait_for_output("Stopping")
    wait_until(lambda: _interrupt_again(up))

    up.process.wait(TIMEOUT_S)
    assert _is_cleaned_up(machine, up)


def test_killing_it_ends_its_children_and_the_next_start_joins_postgres(
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
def test_ctrl_c_during_the_start_leaves_no_process(machine: Machine, moment: str) -> None:
    up = machine.execute_up()
    up.wait_for_output("Starting")
    wait_until(up.descendants)
    if moment == "while Postgres starts":
        wait_until((machine.folder / "data" / "postmaster.pid").exists)
    up.known_children = up.descendants()

    status = up.stop(signal.SIGINT)

    assert status == 0
    assert LAST_LINE not in up.text
    assert _is_cleaned_up(machine, up)


def test_closing_the_terminal_leaves_no_process(machine: Machine) -> None:
    terminal, process_end = os.openpty()
    # The terminal becomes the controlling terminal, so that closing it sends a hang-up.
    # Under nohup the process would inherit that hang-ups are ignored.
    launcher = "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    launcher += "signal.signal(signal.SIGHUP, signal.SIG_DFL);"
    launcher += "os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", launcher, *FLASK, "up"],
        cwd=ROOT,
        env=machine.environment,
        stdin=process_end,
        stdout=process_end,
        stderr=process_end,
        start_new_session=True,
    )
    os.close(process_end)
    up = UpProcess(process, machine.root / "terminal")
    machine.runs.append(up)
    _copy_output(LAST_LINE, terminal, up.output)
    up.known_children = up.descendants()

    os.close(terminal)

    assert process.wait(TIMEOUT_S) == 0
    assert _is_cleaned_up(machine, up)
