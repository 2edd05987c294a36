"""The code that a comparison runs: this checkout or another revision, each on its own database."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import postgres
from benchmarks.postgres import ROOT

TENANTS = 10
NUMBERS = tuple(f"+44207000{index:04}" for index in range(TENANTS))
_COMMAND_TIMEOUT_S = 120


@dataclass(frozen=True)
class Build:
    """Code in a folder, and the settings with which it finds its database."""

    name: str
    source: Path
    environ: dict[str, str]


@dataclass(frozen=True)
class BuildTenant:
    """A tenant of a build, with an API key."""

    id: str
    api_key: str


class UnknownRevision(Exception):
    """The repository has no such commit."""


def commit_of(revision: str) -> str:
    """Return the hash of a revision's commit; raises UnknownRevision."""
    completed = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_COMMAND_TIMEOUT_S,
        check=False,
    )
    if completed.returncode:
        raise UnknownRevision(f"{revision} is not a commit of this repository")
    return completed.stdout.strip()


@contextmanager
def check_out(commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary folder until the block ends."""
    with tempfile.TemporaryDirectory() as parent:
        source = Path(parent) / "source"
        _run_git("worktree", "add", "--quiet", "--detach", str(source), commit)
        try:
            yield source
        finally:
            _run_git("worktree", "remove", "--force", str(source))


def create_build(name: str, source: Path, dsn: str, environ: dict[str, str]) -> Build:
    """Create a database for the code in `source`, and upgrade it with that code."""
    owner_url = postgres.create_empty_database(dsn, f"vca_bench_{name}")
    build = Build(name, source, environ | postgres.environ_of(owner_url))
    run_command(build, "db", "upgrade")
    return build


def run_command(build: Build, *arguments: str) -> str:
    """Run a command of the build's `flask` and return its output."""
    completed = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", *arguments],
        cwd=build.source,
        env=_inherited_environ() | build.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_TIMEOUT_S,
        check=False,
    )
    if completed.returncode:
        raise RuntimeError(f"{arguments}: {completed.stdout}{completed.stderr}")
    return completed.stdout


def create_tenants(build: Build, port: int, numbers: Sequence[str] = NUMBERS) -> list[BuildTenant]:
    """Create a tenant for each number over the REST API, so that the build's own code does it."""
    key = json.loads(
        run_command(build, "api-keys", "create", "--platform", "--name", "bench", "--json")
    )["key"]
    return [_create_tenant(port, key, index, number) for index, number in enumerate(numbers)]


def _create_tenant(port: int, key: str, index: int, number: str) -> BuildTenant:
    tenant_id = _post(port, key, "/api/tenants", name=f"Tenant {index}")["id"]
    path = f"/api/tenants/{tenant_id}"
    limits = {"concurrent_calls": 1_000}
    _post(port, key, f"{path}/settings", method="PATCH", limits=limits)
    _post(
        port,
        key,
        f"{path}/ai-profiles",
        name="Reception",
        role="receptionist",
        system_prompt="You answer the telephone of a small firm. Be brief and kind.",
        greeting=f"Hello, you have reached tenant {index}. How can I help you?",
        language="en-GB",
    )
    _post(port, key, f"{path}/phone-numbers", did_number=number)
    return BuildTenant(tenant_id, _post(port, key, f"{path}/api-keys", name="bench")["key"])


def _post(port: int, key: str, path: str, *, method: str = "POST", **body: object) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=json.dumps(body).encode(),
        method=method,
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_COMMAND_TIMEOUT_S) as response:
        return json.load(response)


def _run_git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=ROOT, check=True, timeout=_COMMAND_TIMEOUT_S)


def _inherited_environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
