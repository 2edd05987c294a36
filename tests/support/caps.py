"""Change the caps of resources for a test."""

from dataclasses import replace

import pytest

from vca.registry import caps


def set_cap(monkeypatch: pytest.MonkeyPatch, name: str, maximum: int) -> None:
    """Let the owner have at most `maximum` of the resource."""
    monkeypatch.setitem(caps.CAPS, name, replace(caps.CAPS[name], maximum=maximum))


def lift_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the owner have ten thousand of each resource, so that no request reaches a cap."""
    for name in caps.CAPS:
        set_cap(monkeypatch, name, 10_000)
