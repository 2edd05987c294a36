"""Create the file `.env` of a new working copy."""

import base64
import os
import secrets
from pathlib import Path

from vca.kit.parsers import PLACEHOLDER


def write_env_file(target: Path, example: Path) -> bool:
    """Create `.env` from `.env.example` with new secrets, mode 0600; return False if it exists."""
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    lines = [_with_fresh_secret(line) for line in example.read_text().splitlines()]
    with os.fdopen(handle, "w") as file:
        file.write("\n".join(lines) + "\n")
    return True


def _with_fresh_secret(line: str) -> str:
    name, separator, value = line.partition("=")
    if not separator or not value.startswith(PLACEHOLDER):
        return line
    if name == "ENCRYPTION_KEYS":
        return f"{name}={base64.b64encode(secrets.token_bytes(32)).decode()}"
    return f"{name}={secrets.token_urlsafe(32)}"
