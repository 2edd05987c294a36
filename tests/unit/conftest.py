"""Unit tests need no database."""

from typing import NoReturn

import pytest


@pytest.fixture(scope="session")
def database_server() -> NoReturn:
    """Fail in place of starting Postgres."""
    pytest.fail("a test that needs a database belongs in tests/integration")
