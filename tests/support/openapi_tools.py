"""A virtual environment for tools that read the OpenAPI document, separate from the suite's own.

Their dependencies conflict with requirements-dev.txt. The first test that needs the environment
creates it; later runs reuse it until the requirements or Python change.
"""

import fcntl
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.ast_index import ROOT

REQUIREMENTS = ROOT / "tests" / "system" / "clients" / "requirements.lock"
_FOLDER = Path(sys.prefix) / "openapi-tools"
_STAMP = _FOLDER / "installed"
_TIMEOUT_S = 300.0


def run_python(
    arguments: Sequence[str], *, environ: Mapping[str, str] | None = None, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run Python of the environment with these arguments; do not raise if it fails.

    The process's environment is `environ` and PATH, on which the virtual environment's programs
    come first.
    """
    python = _python()
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [python, *arguments],
        env={"PATH": path, "PYTHONUTF8": "1", **(environ or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )


def _python() -> Path:
    """Return the environment's interpreter; create the environment if it is missing or outdated.

    Test processes that arrive at the same time wait for one installation.
    """
    expected = f"{sys.version}\n{REQUIREMENTS.read_text()}"
    with _FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _STAMP.exists() or _STAMP.read_text() != expected:
            _install()
            _STAMP.write_text(expected)
    return _FOLDER / "bin" / "python"


def _install() -> None:
    venv.create(_FOLDER, clear=True, symlinks=True, with_pip=False)  # pip takes 3 s to copy
    command = [sys.executable, "-m", "pip", "--python", str(_FOLDER / "bin" / "python")]
    command += ["install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-compile", "--root-user-action=ignore", "--require-hashes", "--no-deps"]
    command += ["--requirement", str(REQUIREMENTS)]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"pip could not install {REQUIREMENTS}:\n{result.stderr}"
