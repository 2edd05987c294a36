"""README's tables of carriers list the capabilities that the adapters declare."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from importlib import import_module
from operator import attrgetter

from tests.support.ast_index import ROOT
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.languages import LanguageTable
from vca.telephony.providers import ADAPTERS
from vca.telephony.turn_settings import TurnSettings
from vca.telephony.types import Capabilities

# The title in README of each field of `Capabilities`.
CAPABILITY_TITLES = {
    "transfer": "transfers a caller, who comes back when nobody answers",
    "recording": "records calls",
    "voicemail": "takes messages",
    "outbound": "places calls",
    "send_keys": "presses keys",
    "relay": "speaks over a voice WebSocket, chunk by chunk",
    "webrtc": "lets browsers call",
    "languages": "understands and speaks languages",
}


def _adapter_class(path: str) -> type[TelephonyAdapter]:
    module, _, name = path.partition(":")
    adapter: type[TelephonyAdapter] = getattr(import_module(module), name)
    return adapter


CAPABILITIES = {name: _adapter_class(path).capabilities for name, path in ADAPTERS.items()}


def _mark(value: bool | LanguageTable | None) -> str:
    match value:
        case LanguageTable():
            return str(len({tag.partition("-")[0] for tag in value.tags()}))
        case None:
            return "all"
        case _:
            return "yes" if value else "–"


def _readme_table(
    rows: Mapping[str, Callable[[Capabilities], bool | LanguageTable | None]],
) -> str:
    """Return the table that README must contain."""
    lines = [f"| | {' | '.join(CAPABILITIES)} |", f"| --- |{' :-: |' * len(CAPABILITIES)}"]
    for title, read_value in rows.items():
        marks = [_mark(read_value(item)) for item in CAPABILITIES.values()]
        lines.append(f"| {title} | {' | '.join(marks)} |")
    return "\n".join(lines)


def test_the_readme_table_matches_the_adapters() -> None:
    names = [field.name for field in fields(Capabilities) if field.name != "turn"]
    table = _readme_table({CAPABILITY_TITLES[name]: attrgetter(name) for name in names})

    assert table in (ROOT / "README.md").read_text()


def test_the_readme_table_of_turn_fields_matches_the_adapters() -> None:
    def supports(name: str, capabilities: Capabilities) -> bool:
        return name in capabilities.turn

    names = [field.name for field in fields(TurnSettings)]
    table = _readme_table({f"`{name}`": partial(supports, name) for name in names})

    assert table in (ROOT / "README.md").read_text()
