"""Fixture of a recording store that fails on demand."""

from collections.abc import Iterator

import pytest
from flask import Flask

from tests.support.recordings import FailingStore
from tests.support.services import app_services, use_services


@pytest.fixture
def failing_store(app: Flask) -> Iterator[FailingStore]:
    """Replace the process's recording store with one that fails on demand, and return it."""
    previous_store = app_services().store
    wrapped_store = FailingStore(previous_store)
    use_services(store=wrapped_store)
    yield wrapped_store
    use_services(store=previous_store)
