"""The served OpenAPI document as a file, for tools that read it from one."""

from pathlib import Path

import pytest
from flask import Flask


@pytest.fixture
def document_path(app: Flask, tmp_path: Path) -> Path:
    """The document exactly as `/api/openapi.json` serves it."""
    path = tmp_path / "openapi.json"
    path.write_bytes(app.test_client().get("/api/openapi.json").data)
    return path
