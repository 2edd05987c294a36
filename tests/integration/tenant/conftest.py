"""Fixture of a recording store that fails on demand."""

from collections.abc import Iterator

import pytest
from flask import Flask

from tests.support.recordings import FailingStore
from vca.kit import storage


@pytest.fixture
def failing_store(app: Flask) -> Iterator[FailingStore]:
    """Replace the process's recording store with one that fails on demand, and return it."""
    previous_store = storage.current_store()
    wrapped_store = FailingStore(previous_store)
    storage.set_current_store(wrapped_store)
    yield wrapped_store
    storage.set_current_store(previous_store)
