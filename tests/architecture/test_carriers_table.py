"""README's table of carriers lists the capabilities that the adapters declare."""

from dataclasses import fields
from importlib import import_module

from tests.support.ast_index import ROOT
from vca.telephony.adapter import TelephonyAdapter
from vca.telephony.languages import LanguageTable
from vca.telephony.providers import ADAPTERS
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


def _mark(value: bool | LanguageTable | None) -> str:
    match value:
        case LanguageTable():
            return str(len({tag.partition("-")[0] for tag in value.tags()}))
        case None:
            return "all"
        case _:
            return "yes" if value else "–"


def _readme_table() -> str:
    """Return the table that README must contain."""
    carriers = {name: _adapter_class(path).capabilities for name, path in ADAPTERS.items()}
    lines = [f"| | {' | '.join(carriers)} |", f"| --- |{' :-: |' * len(carriers)}"]
    for field in fields(Capabilities):
        marks = [_mark(getattr(capabilities, field.name)) for capabilities in carriers.values()]
        lines.append(f"| {CAPABILITY_TITLES[field.name]} | {' | '.join(marks)} |")
    return "\n".join(lines)


def test_the_readme_table_matches_the_adapters() -> None:
    assert _readme_table() in (ROOT / "README.md").read_text()
