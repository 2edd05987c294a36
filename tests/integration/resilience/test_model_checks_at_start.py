"""Processes check the models in the background after their start, once for the deployment."""

from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import openai_server
from tests.support import admin_db
from tests.support.processes import run_gunicorn, wait_until

REQUESTS_OF_A_CHECK = 3


@pytest.mark.parametrize("status", ["ok", "degraded"])
def test_two_processes_and_a_restart_check_a_model_once(
    app: Flask, environment: dict[str, str], tmp_path: Path, status: str
) -> None:
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.model_checks"))
    with openai_server() as server:
        if status == "degraded":
            server.set_behaviours(openai_behaviours.error_response(401, {"code": "invalid_key"}))
        settings = {
            **environment,
            "LLM_BASE_URL": server.url,
            "LLM_API_KEY": "sk-4711",
            "LLM_MODEL": "gpt-test",
            "WEB_WORKERS": "2",
        }
        for number in range(2):
            with run_gunicorn(settings, tmp_path / f"log{number}") as web:
                wait_until(lambda: web.get("/healthz").json["models"] == status)
                assert web.get("/healthz").status == 200

        assert len(server.requests) == (REQUESTS_OF_A_CHECK if status == "ok" else 1)
    assert "sk-4711" not in (tmp_path / "log0").read_text()
