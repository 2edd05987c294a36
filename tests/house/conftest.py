"""The app as it is put together, with nothing behind it: no test here asks a database."""

from typing import Any

import pytest
from flask import Flask

from vca.app import create_app
from vca.kit import db, json
from vca.kit.config import read_settings
from vca.telephony import providers

NOWHERE = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere",
    "APP_ENV": "development",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "SECRET_KEY": "a-secret-of-the-house-tests-and-no-other",
    "LOG_LEVEL": "warning",
}


@pytest.fixture(scope="session")
def bare_app() -> Flask:
    """The whole product; the process keeps the database and the carriers that it had."""
    database, carriers = db._current, providers._current
    app = create_app(read_settings(NOWHERE))
    db._current, providers._current = database, carriers
    return app


@pytest.fixture(scope="session")
def document(bare_app: Flask) -> Any:
    """The OpenAPI document as it is served."""
    return json.loads(bare_app.extensions["openapi"])
