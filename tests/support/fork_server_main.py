"""Load what the product's programs load, then fork a process for each request.

Run as `python -m tests.support.fork_server_main FD`, where FD is the socket of `ForkServer`.
"""

import gc
import os
import runpy
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.fork_server import MAX_MESSAGE_BYTES
from vca.app import COMMANDS, feature_modules
from vca.kit import json

# Modules that the product loads only when it needs them.
_PRELOADED_MODULES = (
    "alembic.command",
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.gthread",
    "vca.jobs.worker_loop",
    *{path.partition(":")[0] for path, _ in COMMANDS.values()},
)
_FEATURE_MODULES = ("routes", "tasks", "lifecycle")


def serve_forks(fd: int) -> list[str]:
    """Answer requests until the socket closes, then exit. A forked process returns its command."""
    with socket.socket(fileno=fd) as connection:
        while True:
            message, fds, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 2)
            if not message:
                sys.exit()
            request: dict[str, Any] = json.loads(message)
            if "bury" in request:
                status = os.waitpid(request["bury"], 0)[1]
                connection.send(b"%d" % os.waitstatus_to_exitcode(status))
            elif os.fork():
                for fd in fds:
                    os.close(fd)
            else:
                _set_up_process(request, *fds)
                connection.send(b"%d" % os.getpid())
                command: list[str] = request["command"]
                return command


def _set_up_process(request: dict[str, Any], output: int, errors: int) -> None:
    """Set up session, environment and output, as the operating system does for a new program."""
    if request["new_session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(request["environ"])
    for standard_fd, fd in ((1, output), (2, errors)):
        os.dup2(fd, standard_fd)
        os.close(fd)


def run_command(command: list[str]) -> None:
    """Run a script, `-m` with a module, or `-c` with code, as the interpreter does."""
    match command:
        case [_, "-c", program, *words]:
            sys.argv, sys.path[0] = ["-c", *words], ""
            exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
        case [_, "-m", module, *words]:
            sys.argv = [module, *words]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [script, *_]:
            sys.argv, sys.path[0] = command, str(Path(script).parent)
            runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    for module in _PRELOADED_MODULES:
        import_module(module)
    for name in _FEATURE_MODULES:
        feature_modules(name)
    gc.collect()
    gc.freeze()
    run_command(serve_forks(int(sys.argv[1])))
