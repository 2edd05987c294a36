"""`.env.example` lists every setting with its default, and nothing that is not a setting."""

import re
import stat
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from tests.support.ast_index import ROOT
from vca.devtools.env_file import write_env_file
from vca.kit.parsers import PLACEHOLDER
from vca.settings import Settings, SettingsError, read_settings

EXAMPLE_FILE = ROOT / ".env.example"
_LINE = re.compile(r"(#?)([A-Z][A-Z0-9_]*)=(.*)")
SETTINGS = {field.name.upper(): field for field in fields(Settings)}


def _lines() -> list[tuple[str, str, str]]:
    """Return (`#` or an empty string, name, value) of each setting in the file."""
    matches = (_LINE.fullmatch(line) for line in EXAMPLE_FILE.read_text().splitlines())
    return [(match[1], match[2], match[3]) for match in matches if match]


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING


def test_every_setting_is_listed_once_and_nothing_else_is_listed() -> None:
    names = [name for _, name, _ in _lines()]

    assert sorted(names) == sorted(SETTINGS)


def test_required_settings_have_a_value_and_commented_ones_their_default() -> None:
    for commented, name, value in _lines():
        field = SETTINGS[name]
        assert not (commented and _is_required(field)), f"{name} is required"
        if commented:
            default = field.metadata["parse"](value) if value else field.default
            assert default == field.default, name
            assert bool(value) == (field.default not in ("", ())), name


def test_a_new_env_file_is_valid_and_private_and_has_new_secrets(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"

    assert write_env_file(first, EXAMPLE_FILE)
    assert write_env_file(second, EXAMPLE_FILE)

    first_values, second_values = dotenv_values(first), dotenv_values(second)
    assert read_settings({name: value or "" for name, value in first_values.items()})
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert PLACEHOLDER not in str(list(first_values.values()))
    for name in ("SECRET_KEY", "API_KEY_PEPPERS", "ENCRYPTION_KEYS"):
        assert first_values[name] != second_values[name]


def test_an_existing_env_file_is_not_overwritten(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("APP_NAME=Mine\n")

    assert not write_env_file(env_file, EXAMPLE_FILE)

    assert env_file.read_text() == "APP_NAME=Mine\n"


def test_production_rejects_the_values_of_the_example() -> None:
    example = {name: value or "" for name, value in dotenv_values(EXAMPLE_FILE).items()}
    del example["ENCRYPTION_KEYS"]

    with pytest.raises(SettingsError) as raised:
        read_settings({**example, "APP_ENV": "production"})

    message = str(raised.value)
    for name in ("DATABASE_URL", "SECRET_KEY", "API_KEY_PEPPERS", "TELEPHONY_PROVIDER"):
        assert f"VCA cannot start: {name} " in message


def test_the_readme_names_every_setting_that_production_requires() -> None:
    _, _, production = (ROOT / "README.md").read_text().partition("\n## Production\n")
    section, _, _ = production.partition("\n## ")
    required = {name for name, field in SETTINGS.items() if _is_required(field)}

    for name in (*required, "API_KEY_PEPPERS", "ENCRYPTION_KEYS", "MIGRATION_DATABASE_URL"):
        assert f"`{name}" in section or f"{name}\n" in section or f"{name};" in section, name
