"""Fixtures for architecture tests: the assembled app, without a database."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask

from tests.support.ast_index import ROOT
from vca.app import create_app
from vca.kit import json
from vca.settings import read_settings

UNREACHABLE_SETTINGS = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere",
    "APP_ENV": "development",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "SECRET_KEY": "a-secret-of-the-house-tests-and-no-other",
    "LOG_LEVEL": "info",
    "PUBLIC_BASE_URL": "https://vca.example",
}


@pytest.fixture(scope="session")
def bare_app() -> Flask:
    """Return the app. The process's current objects (database, carriers, …) stay as they were."""
    with _restore_module_state():
        return create_app(read_settings(UNREACHABLE_SETTINGS))


@contextmanager
def _restore_module_state() -> Iterator[None]:
    """Restore the private module variables of `vca` modules that have a `set_…` function."""
    states = {
        name: {key: value for key, value in vars(module).items() if _is_state(key, value)}
        for name, module in list(sys.modules.items())
        if name.startswith("vca.")
        and any(attribute.startswith("set_") for attribute in vars(module))
    }
    yield
    for name, state in states.items():
        vars(sys.modules[name]).update(state)


def _is_state(name: str, value: Any) -> bool:
    return name.startswith("_") and not name.startswith("__") and not callable(value)


@pytest.fixture(scope="session")
def openapi_document(bare_app: Flask) -> Any:
    """Return the served OpenAPI document."""
    return json.loads(bare_app.extensions["openapi"].render())


@pytest.fixture(scope="session")
def loaded_modules() -> frozenset[str]:
    """Return the modules that a program has loaded once it knows every job and every carrier.

    The program has used neither a job nor a carrier yet.
    """
    code = (
        "import sys, importlib; from vca import app; from vca.telephony.providers import ADAPTERS\n"
        "app.feature_modules('tasks')\n"
        "for name in (path.partition(':')[0] for path in ADAPTERS.values()):\n"
        "    importlib.import_module(name)\n"
        "print(*sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return frozenset(result.stdout.split())
