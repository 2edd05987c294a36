"""`.env.example` is the settings: every field, its default, and nothing that is not read."""

import re
import stat
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from tests.support.ast_index import ROOT
from vca.settings import PLACEHOLDER, Settings, SettingsError, read_settings, write_env_file

EXAMPLE = ROOT / ".env.example"
_LINE = re.compile(r"(#?)([A-Z][A-Z0-9_]*)=(.*)")
SETTINGS = {spec.name.upper(): spec for spec in fields(Settings)}


def _lines() -> list[tuple[str, str, str]]:
    """(`#` or nothing, name, value) of every setting that is shown."""
    matches = (_LINE.fullmatch(line) for line in EXAMPLE.read_text().splitlines())
    return [(match[1], match[2], match[3]) for match in matches if match]


def _required(spec: Field[Any]) -> bool:
    return spec.default is MISSING


def test_every_setting_is_shown_once_and_nothing_else() -> None:
    shown = [name for _, name, _ in _lines()]

    assert sorted(shown) == sorted(SETTINGS)


def test_required_settings_are_set_and_an_unset_one_shows_its_default() -> None:
    for commented, name, value in _lines():
        spec = SETTINGS[name]
        assert not (commented and _required(spec)), f"{name} is required"
        if commented:
            shown = spec.metadata["parse"](value) if value else spec.default
            assert shown == spec.default, name
            assert bool(value) == (spec.default not in ("", ())), name


def test_a_fresh_env_file_is_valid_private_and_has_secrets_of_its_own(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"

    assert write_env_file(one, EXAMPLE)
    assert write_env_file(two, EXAMPLE)

    first, second = dotenv_values(one), dotenv_values(two)
    assert read_settings({name: value or "" for name, value in first.items()})
    assert stat.S_IMODE(one.stat().st_mode) == 0o600
    assert PLACEHOLDER not in str(list(first.values()))
    for name in ("SECRET_KEY", "API_KEY_PEPPERS", "ENCRYPTION_KEYS"):
        assert first[name] != second[name]


def test_an_env_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / ".env"
    mine.write_text("APP_NAME=Mine\n")

    assert not write_env_file(mine, EXAMPLE)

    assert mine.read_text() == "APP_NAME=Mine\n"


def test_the_example_itself_is_refused_in_production() -> None:
    example = {name: value or "" for name, value in dotenv_values(EXAMPLE).items()}
    del example["ENCRYPTION_KEYS"]

    with pytest.raises(SettingsError) as raised:
        read_settings({**example, "APP_ENV": "production"})

    told = str(raised.value)
    for name in ("DATABASE_URL", "SECRET_KEY", "API_KEY_PEPPERS", "TELEPHONY_PROVIDER"):
        assert f"VCA cannot start: {name} " in told


def test_the_readme_names_every_setting_that_production_cannot_start_without() -> None:
    _, _, production = (ROOT / "README.md").read_text().partition("\n## Production\n")
    section, _, _ = production.partition("\n## ")
    required = {name for name, spec in SETTINGS.items() if _required(spec)}

    for name in (*required, "API_KEY_PEPPERS", "ENCRYPTION_KEYS", "MIGRATION_DATABASE_URL"):
        assert f"`{name}" in section or f"{name}\n" in section or f"{name};" in section, name
