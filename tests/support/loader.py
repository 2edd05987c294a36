"""Loads what our programs load, then forks one off whenever it is asked to.

`python -m tests.support.loader FD`: the socket of `tests.support.loaded.Loader`.
"""

import gc
import os
import runpy
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.loaded import LARGEST_MESSAGE
from vca.app import COMMANDS, TASKS
from vca.kit import json

# What the product itself loads only when it is needed.
_LATER = (
    "alembic.command",
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.gthread",
    "vca.jobs.worker_loop",
    *TASKS,
    *{path.partition(":")[0] for path in COMMANDS.values()},
)


def main(fd: int) -> list[str]:
    """Until nobody asks any more: ends the process; but in each program, its command."""
    with socket.socket(fileno=fd) as asked:
        while True:
            message, fds, _, _ = socket.recv_fds(asked, LARGEST_MESSAGE, 2)
            if not message:
                sys.exit()
            order: dict[str, Any] = json.loads(message)
            if "bury" in order:
                status = os.waitpid(order["bury"], 0)[1]
                asked.send(b"%d" % os.waitstatus_to_exitcode(status))
            elif os.fork():
                for fd in fds:
                    os.close(fd)
            else:
                _become(order, *fds)
                asked.send(b"%d" % os.getpid())
                command: list[str] = order["command"]
                return command


def _become(order: dict[str, Any], output: int, errors: int) -> None:
    """What the system does for a program before it begins."""
    if order["new_session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(order["environ"])
    for standard, given in ((1, output), (2, errors)):
        os.dup2(given, standard)
        os.close(given)


def run(command: list[str]) -> None:
    """What the interpreter does with a script, with `-m` and a module, with `-c` and a program."""
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
    for module in _LATER:
        import_module(module)
    gc.collect()
    gc.freeze()
    run(main(int(sys.argv[1])))
