"""The lock files pin every dependency, with hashes, at the versions of the requirements."""

import re

import pytest

from tests.support.ast_index import ROOT

_NAMES = ("requirements", "requirements-dev", "tests/system/clients/requirements")
_PINNED = re.compile(r"^(?P<name>[\w.-]+)(?:\[[\w,-]+\])?==(?P<version>[\w.]+)", re.MULTILINE)
_ENTRY = re.compile(r"^[\w.-]+==[^\n]*(?:\n    --hash=[^\n]*)*", re.MULTILINE)


def _pinned_versions(path: str) -> set[tuple[str, str]]:
    """Return (normalized name, version) of each pinned requirement of a file."""
    return {
        (re.sub(r"[-_.]+", "-", match["name"]).lower(), match["version"])
        for match in _PINNED.finditer((ROOT / path).read_text())
    }


@pytest.mark.parametrize("name", _NAMES)
def test_a_lock_file_contains_every_requirement(name: str) -> None:
    requirements = _pinned_versions(f"{name}.txt")

    assert len(requirements) >= 3
    assert requirements <= _pinned_versions(f"{name}.lock"), "run `make lock`"


@pytest.mark.parametrize("name", _NAMES)
def test_every_locked_dependency_has_hashes(name: str) -> None:
    entries = _ENTRY.findall((ROOT / f"{name}.lock").read_text())

    assert len(entries) >= 20
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_development_uses_the_versions_of_production() -> None:
    assert _pinned_versions("requirements.lock") <= _pinned_versions("requirements-dev.lock")
