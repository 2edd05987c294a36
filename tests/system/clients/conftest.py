"""Fixture that writes the served OpenAPI document to a file, for tools that read a file."""

from pathlib import Path

import pytest
from flask import Flask


@pytest.fixture
def document_path(app: Flask, tmp_path: Path) -> Path:
    """Return the path of a file with the exact bytes that `/api/openapi.json` serves."""
    path = tmp_path / "openapi.json"
    path.write_bytes(app.test_client().get("/api/openapi.json").data)
    return path
