"""Processes in production load no development code."""

import base64
import subprocess
import sys

import pytest

from tests.support.ast_index import ROOT
from vca.settings import Settings

SECRET = "a-secret-of-this-test-alone-and-no-other"
PRODUCTION = {
    "APP_ENV": "production",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere",
    "SECRET_KEY": SECRET,
    "API_KEY_PEPPERS": f"{SECRET}-pepper",
    "ENCRYPTION_KEYS": base64.b64encode(bytes(32)).decode(),
    "PUBLIC_BASE_URL": "https://voice.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "0" * 32,
    "TELEPHONY_PROVIDER": "twilio",
    "LLM_BASE_URL": "https://models.example.com/v1",
    "LLM_API_KEY": "a-key",
    "LLM_MODEL": "a-model",
    "RELAY_SLOTS": "1",
}
# Environment variables that select what each kind of process imports.
PROCESSES = {
    "web": {},
    "relay": {"GUNICORN_GROUP": "relay"},
    "worker": {"IMPORT": "vca.servers.worker"},
}
CODE = """
import importlib, os, sys
import wsgi
importlib.import_module(os.environ.get("IMPORT", "wsgi"))
print(*(name for name in sys.modules if name.startswith("vca.devtools")))
print(len([name for name in sys.modules if name.startswith("vca.")]))
"""


@pytest.mark.parametrize("process", PROCESSES)
def test_a_production_process_loads_no_development_code(process: str) -> None:
    unset_settings = dict.fromkeys((name.upper() for name in Settings.__dataclass_fields__), "")
    environment = {"PATH": "/usr/bin:/bin", **unset_settings, **PRODUCTION, **PROCESSES[process]}

    result = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True
    )

    assert result.returncode == 0, result.stderr
    devtools, count = result.stdout.splitlines()
    assert devtools == ""
    assert int(count) > 100
